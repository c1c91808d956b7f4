# an agent's file
datacenter = "dc1" // another
server = true
ports { http = 8500, dns = -1 }
retry_join = ["a", "b",]
service {
  name = "web"
  tags = ["x"]
  check { id = "c", args = ["sh", "-c", "say \"hi\"\n"], interval = "10s" }
}
service "db" { port = 5432 }
node_meta = { rack = "r1", "with space" = "x" }
note = <<-END
  two

    lines
  END
/* last */
ratio = 1.5e3
