"""Checks Dockerfile and docker-compose.yml without a container engine: files that they name, and what they promise."""

import pathlib
import re
import sys

import yaml

root = pathlib.Path(sys.argv[1])
compose = yaml.safe_load((root / "docker-compose.yml").read_text())
services = compose["services"]


def check_compose() -> None:
    assert set(services) == {"postgres", "db-locks", "prometheus"}, services.keys()
    for name, service in services.items():
        assert ("image" in service) != ("build" in service), f"{name}: exactly one of image and build"
        for dependency, how in service.get("depends_on", {}).items():
            assert dependency in services, f"{name} depends on {dependency}, which is not there"
            if how["condition"] == "service_healthy":
                image_checks = "build" in services[dependency]
                assert image_checks or "healthcheck" in services[dependency], f"{dependency} has no health check"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (root / source).exists(), f"{name}: {source} is not there"
            else:
                assert source in compose["volumes"], f"{name}: the volume {source} is not declared"
        for variable, value in service.get("environment", {}).items():
            secret = value if "PASSWORD" in variable else re.sub(r"^\w+://[^:@]*:?([^@]*)@.*", r"\1", value)
            if "PASSWORD" in variable or "@" in value:
                assert re.fullmatch(r"\$\{\w+(:\?[^}]*)?\}", secret), f"{name}: {variable} has a password in clear"


def check_prometheus() -> None:
    prometheus = yaml.safe_load((root / "deploy/prometheus.yml").read_text())
    targets = [t for job in prometheus["scrape_configs"] for c in job["static_configs"] for t in c["targets"]]
    assert targets == ["db-locks:8080"], targets


def check_dockerfile() -> None:
    """The last stage runs as a user with a number, which owns the volume that the default database is in."""
    text = (root / services["db-locks"]["build"] / "Dockerfile").read_text().replace("\\\n", " ")
    last = [line.split(None, 1) for line in text.rpartition("\nFROM ")[2].splitlines()[1:] if line.strip()]

    def only(name: str) -> str:
        [value] = [rest for word, rest in last if word == name]
        return value

    user = only("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), f"USER {user}"
    volume = only("VOLUME")
    owner, group = user.split(":")
    assert re.search(rf"-o {owner} -g {group} {volume}$", only("RUN")), f"{volume} does not belong to {user}"
    assert f"sqlite://{volume}/" in only("ENV"), f"the default database is not in {volume}"
    assert 'CMD ["db-locks", "health"]' in only("HEALTHCHECK")
    assert only("ENTRYPOINT") == '["db-locks"]'
    # Every member of the workspace is in the layer of the dependencies.
    [members] = re.findall(r"^members = \[(.*)\]", (root / "Cargo.toml").read_text(), re.M)
    for member in set(re.findall(r'"(\w+)"', members)):
        assert f"COPY {member}/Cargo.toml {member}/" in text, f"{member}/Cargo.toml is not copied"


check_compose()
check_prometheus()
check_dockerfile()
print(f"Dockerfile and docker-compose.yml: {len(services)} services, nothing dangles")
