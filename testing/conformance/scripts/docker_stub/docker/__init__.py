"""Stands where the docker package is expected: "containers" of Consul are daemons of ours.

py-consul's own suite starts Consul in containers and asks for the port that it is reached at. With this folder
first on the path it starts `portolan dev` (the program in PORTOLAN_BIN) instead, unmodified otherwise.
"""
import json
import os
import socket
import subprocess
import tempfile

from . import errors


class DockerClient:
    def __init__(self):
        self.containers = Containers()


def from_env():
    return DockerClient()


class Containers:
    def run(self, image, command, **config):
        return Container(json.loads(config["environment"]["CONSUL_LOCAL_CONFIG"]))

    def get(self, name):
        raise errors.NotFound(name)


class Container:
    def __init__(self, asked):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._log = tempfile.TemporaryFile()
        self._secret = tempfile.NamedTemporaryFile("w", suffix=".token")
        settings = {
            "PORTOLAN_API__LISTEN": f"127.0.0.1:{port}",
            "PORTOLAN_DNS__LISTEN": "127.0.0.1:0",
            "PORTOLAN_PROXY__NAMED": "127.0.0.1:0",
            "PORTOLAN_PROXY__HTTP__LISTEN": "127.0.0.1:0",
            "PORTOLAN_HEALTH__COMMANDS": str(asked.get("enable_script_checks", False)).lower(),
        }
        settings.update(self._lists(asked.get("acl", {})))
        self._process = subprocess.Popen(
            [os.environ["PORTOLAN_BIN"], "dev"], env={**os.environ, **settings},
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
        )
        self.attrs = {"NetworkSettings": {"Ports": {"8500/tcp": [{"HostPort": str(port)}]}}}

    def _lists(self, acl):
        """Our settings for Consul's access control lists."""
        if not acl.get("enabled"):
            return {}
        settings = {"PORTOLAN_ACL__ENABLED": "true", "PORTOLAN_ACL__DEFAULT_POLICY": acl.get("default_policy", "allow")}
        secret = acl.get("tokens", {}).get("initial_management")
        if secret:
            self._secret.write(secret)
            self._secret.flush()
            settings["PORTOLAN_ACL__INITIAL_MANAGEMENT_FILE"] = self._secret.name
        return settings

    def reload(self):
        pass

    def logs(self):
        self._log.seek(0)
        return self._log.read()

    def stop(self):
        self._process.kill()
        self._process.wait()

    def remove(self, force=False):
        self._log.close()
        self._secret.close()
