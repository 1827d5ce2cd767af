"""Checks docker-compose.yml without a container engine: what compose would reject, or what would dangle."""

import pathlib
import sys

import yaml

path = pathlib.Path(sys.argv[1])
compose = yaml.safe_load(path.read_text())
services = compose["services"]
assert set(services) == {"postgres", "db-locks", "prometheus"}, services.keys()
for name, service in services.items():
    assert ("image" in service) != ("build" in service), f"{name}: exactly one of image and build"
    for dependency in service.get("depends_on", {}):
        assert dependency in services, f"{name} depends on {dependency}, which is not there"
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (path.parent / source).exists(), f"{name}: {source} is not there"
        else:
            assert source in compose["volumes"], f"{name}: the volume {source} is not declared"
assert (path.parent / services["db-locks"]["build"] / "Dockerfile").exists()
prometheus = yaml.safe_load((path.parent / "deploy/prometheus.yml").read_text())
targets = [t for job in prometheus["scrape_configs"] for c in job["static_configs"] for t in c["targets"]]
assert targets == ["db-locks:8080"], targets
print(f"{path}: {len(services)} services, nothing dangles")
