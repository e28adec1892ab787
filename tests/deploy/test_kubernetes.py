"""The manifests: rendered, every field compared with Kubernetes' own types, and what they say of a pod's life and rights."""

import json
import os
import re
import shutil

import pytest

from conftest import ROOT
from roots import sh

HERE = ROOT / "tests/deploy/kubernetes"
MANIFESTS = ROOT / "deploy/kubernetes"
WHAT = ["base", "overlays/production", "overlays/redis", "helm/example", "job.yaml"]


@pytest.fixture(scope="module")
def check(work):
    """check(text): the documents, after every field was found to be one that there is."""
    node = work / "kubernetes"
    if sh(ROOT / "tests/sdk/install", HERE, node, check=False).returncode == 77:
        pytest.skip("the packages with the types are out of reach")
    shutil.copy(HERE / "check.mjs", node)

    def go(text):
        (node / "in.yaml").write_text(text)
        lines = sh("sh", "-c", "node check.mjs <in.yaml", cwd=node).stdout.strip().split("\n")
        assert len(lines) == 1, "\n".join(lines[:-1])
        return json.loads(lines[-1])

    return go


@pytest.fixture(scope="module")
def rendered(check, work):
    """What of it -> its documents."""
    made = {}

    def render(what):
        path = MANIFESTS / what
        if path.is_file():
            return path.read_text()
        if what.startswith("helm/"):
            return sh(chart_engine(work), path, MANIFESTS / "helm/weir").stdout
        if not shutil.which("kubectl"):
            pytest.skip("no kubectl to render it with")
        return sh("kubectl", "kustomize", path).stdout

    def go(what):
        if what not in made:
            made[what] = check(render(what))
        return made[what]

    return go


def chart_engine(work):
    """Helm's template language and functions, from Debian's packages."""
    if not shutil.which("go"):
        pytest.skip("no go to render charts with")
    sh("go", "build", "-o", work / "render", "main.go", cwd=HERE / "render",
       env={**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""})
    return work / "render"


def pods(documents):
    return [d["spec"]["template"]["spec"] for d in documents if "template" in d.get("spec", {})]


def sidecars(documents):
    return [(p, c) for p in pods(documents) for c in p.get("initContainers", [])]


@pytest.mark.parametrize("what", WHAT)
def test_every_field_is_one_that_there_is(rendered, what):
    kinds = {d["kind"] for d in rendered(what)}
    assert kinds >= ({"ConfigMap", "Job"} if what == "job.yaml" else {"ConfigMap", "Deployment", "Service"}), kinds


def test_a_field_that_there_is_not_would_be_found(check):
    with pytest.raises(AssertionError, match="restartPolicyy"):
        check("apiVersion: v1\nkind: Pod\nspec: { containers: [{ name: x, restartPolicyy: Always }] }")


@pytest.mark.parametrize("what", WHAT)
def test_the_sidecar_is_a_native_one_with_probes_and_no_hook(rendered, what):
    (_, weir), = sidecars(rendered(what))
    assert weir["restartPolicy"] == "Always" and "lifecycle" not in weir and weir["args"][-1] == "--watch"
    assert weir["startupProbe"]["httpGet"]["path"] == "/ready"
    mount, = weir["volumeMounts"]
    assert mount["mountPath"] == "/etc/weir" and mount["readOnly"] and "subPath" not in mount


@pytest.mark.parametrize("what", WHAT)
def test_nobody_is_root_or_may_become_it(rendered, what):
    for pod in pods(rendered(what)):
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for c in pod.get("initContainers", []) + pod["containers"]:
            s = c["securityContext"]
            assert s["capabilities"] == {"drop": ["ALL"]} and s["readOnlyRootFilesystem"] and not s["allowPrivilegeEscalation"]
            assert {**pod["securityContext"], **s}.get("runAsUser", 0) > 0


@pytest.mark.parametrize("what", WHAT)
def test_the_configuration_is_one_that_weir_takes(rendered, binary, tmp_path, what):
    for d in rendered(what):
        if d["kind"] == "ConfigMap" and "weir.yaml" in d["data"]:
            (tmp_path / "weir.yaml").write_text(d["data"]["weir.yaml"])
            said = sh(binary, "check", "--strict", "--production", "-c", tmp_path / "weir.yaml", env={**os.environ, "REDIS_PASSWORD": "x"})
            assert "0 errors, 0 warnings" in said.stderr


def test_the_hook_of_the_readme_is_one(check):
    hook = re.search(r"^ {4}(preStop: .*)$", (MANIFESTS / "README.md").read_text(), re.M)[1]
    check(f"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n    - name: x\n      lifecycle:\n        {hook}")


def seconds(text):
    n, unit = re.fullmatch(r"(\d+)(ms|s|m)", text).groups()
    return int(n) * {"ms": 0.001, "s": 1, "m": 60}[unit]


@pytest.mark.parametrize("what", ["base", "overlays/production", "overlays/redis", "helm/example"])
def test_the_grace_period_is_long_enough(rendered, what):
    documents = rendered(what)
    (pod, _), = sidecars(documents)
    app, = pod["containers"]
    policy = next(d["data"]["weir.yaml"] for d in documents if d["kind"] == "ConfigMap")
    delay, drain = map(seconds, re.search(r"shutdown: \{ delay: (\w+), drain: (\w+) \}", policy).groups())
    calls = int(next((e["value"] for e in app.get("env", []) if e["name"] == "DRAIN_SECONDS"), 55))
    assert pod["terminationGracePeriodSeconds"] >= app["lifecycle"]["preStop"]["sleep"]["seconds"] + calls + delay + drain + 2


@pytest.mark.parametrize("what", ["base", "overlays/production", "overlays/redis"])
def test_what_is_named_is_there(rendered, what):
    """Selectors find pods, volumes find maps, variables find secrets, ports are open."""
    documents = rendered(what)
    names = {(d["kind"], d["metadata"]["name"]) for d in documents}
    labels = [d["spec"]["template"]["metadata"]["labels"] for d in documents if d["kind"] == "Deployment"]
    for d in documents:
        selector = d.get("spec", {}).get("selector") if d["kind"] == "Service" else d.get("spec", {}).get("podSelector", {}).get("matchLabels")
        assert selector is None or any(selector.items() <= have.items() for have in labels), d["metadata"]
    for pod in pods(documents):
        for v in pod.get("volumes", []):
            assert ("ConfigMap", v["configMap"]["name"]) in names
        for c in pod.get("initContainers", []) + pod["containers"]:
            for e in c.get("env", []):
                assert "valueFrom" not in e or ("Secret", e["valueFrom"]["secretKeyRef"]["name"]) in names
    (_, weir), = sidecars(documents)
    opened = {p["containerPort"] for p in weir["ports"]}
    allowed = {p["port"] for d in documents if d["kind"] == "NetworkPolicy" and d["metadata"]["name"] == "app" for r in d["spec"]["ingress"] for p in r["ports"]}
    assert opened == allowed == {8080, 9902}


def test_an_overlay_says_what_it_is_for(rendered):
    (_, weir), = sidecars(rendered("overlays/production"))
    assert weir["image"] == "registry.example.com/weir:0.1.0" and weir["resources"]["limits"]["memory"] == "256Mi" and weir["startupProbe"]
    assert "store: redis" in next(d["data"]["weir.yaml"] for d in rendered("overlays/redis") if d["kind"] == "ConfigMap")


VALUES = """
replicas: 1
image: app:1
weir:
  accept: [W212, W214]
  clientIp: { trust: [10.0.0.0/8] }
  redis: { url: "redis://:${REDIS_PASSWORD}@redis:6379/0", salt: a-salt-of-ours }
  env: [{ name: REDIS_PASSWORD, valueFrom: { secretKeyRef: { name: r, key: p } } }]
  policies: { a: { rate: 10/s, key: client.ip, store: redis } }
  routes: [{ name: x, match: { path: /x/* }, to: app, use: [a] }, { name: rest, to: app, use: [a] }]
"""


def test_the_library_chart_takes_redis_variables_and_routes(check, work, binary, tmp_path):
    shutil.copytree(MANIFESTS / "helm/example", tmp_path / "example")
    (tmp_path / "example/values.yaml").write_text(VALUES)
    documents = check(sh(chart_engine(work), tmp_path / "example", MANIFESTS / "helm/weir").stdout)
    (_, weir), = sidecars(documents)
    assert weir["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "r", "key": "p"} and weir["image"] == "weir:0.1.0"
    (tmp_path / "weir.yaml").write_text(documents[0]["data"]["weir.yaml"])
    said = sh(binary, "check", "--strict", "--production", "-c", tmp_path / "weir.yaml", env={**os.environ, "REDIS_PASSWORD": "x"})
    assert "0 errors, 0 warnings" in said.stderr
