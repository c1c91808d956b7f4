# One on each node, as the original's job. The Docker plugin has to allow the capability:
#   plugin "docker" { config { allow_caps = ["net_admin"] } }

job "diplonat" {
  datacenters = ["dc1"]
  type        = "system"
  priority    = 60

  group "diplonat" {
    restart {
      interval = "30m"
      attempts = 20
      delay    = "15s"
      mode     = "delay"
    }

    task "diplonat" {
      driver = "docker"

      config {
        image           = "portolan"
        network_mode    = "host"
        readonly_rootfs = true
        cap_drop        = ["all"]
        cap_add         = ["net_admin"]
        mount {
          type   = "tmpfs"
          target = "/run"
        }
      }

      env {
        DIPLONAT_CONSUL_NODE_NAME = "${node.unique.name}"
        DIPLONAT_REFRESH_TIME     = "60"
        DIPLONAT_EXPIRATION_TIME  = "300"
        RUST_LOG                  = "info"
      }

      resources {
        memory = 64
      }
    }
  }
}
