"""Stands where the docker package is expected: "containers" of Consul are daemons of ours.

py-consul's own suite starts Consul in containers and asks for the port that it is reached at. With this folder
first on the path it starts our program (PORTOLAN_BIN) under the name `consul` instead, with the same flags and the
same configuration, access control lists included.
"""
import os
import shlex
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
        return Container(shlex.split(command), config["environment"]["CONSUL_LOCAL_CONFIG"])

    def get(self, name):
        raise errors.NotFound(name)


class Container:
    def __init__(self, command, asked):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._log = tempfile.TemporaryFile()
        self._folder = tempfile.TemporaryDirectory()
        consul = os.path.join(self._folder.name, "consul")
        os.symlink(os.environ["PORTOLAN_BIN"], consul)
        file = os.path.join(self._folder.name, "local.json")
        with open(file, "w", encoding="utf-8") as local:
            local.write(asked)
        # Every container has all addresses to itself, and this host is everybody's.
        command = [word.replace("0.0.0.0", "127.0.0.1") for word in command]
        self._process = subprocess.Popen(
            [consul, *command, f"-http-port={port}", f"-config-file={file}"],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
        )
        self.attrs = {"NetworkSettings": {"Ports": {"8500/tcp": [{"HostPort": str(port)}]}}}

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
        self._folder.cleanup()
