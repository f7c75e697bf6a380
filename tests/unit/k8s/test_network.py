"""The connections that the rendered network policies allow."""

import pytest

from tests.support.manifests import K8S, RENDERINGS, build, one, rendered
from tests.support.network_policies import Network, Pod

# What KFP puts into every task's pod, and where names come from.
LAUNCHER = {
    "kubeflow:app=ml-pipeline 8887/TCP",
    "kubeflow:component=metadata-grpc-server 8080/TCP",
    "kubeflow:app=seaweedfs 8333/TCP",
}
DNS = {f"{peer} 53/{p}" for peer in ("kube-system:k8s-app=kube-dns", "169.254.20.10/32") for p in ("UDP", "TCP")}
KUBERNETES_API = {
    "gpu": {"198.51.100.0/24 443/TCP"},
    "local": {f"{net} {port}/TCP" for net in ("172.16.0.0/12", "192.168.0.0/16") for port in (6443, 8443)},
}
OBJECT_STORAGE = {"gpu": {"192.0.2.0/24 443/TCP"}, "local": {"component=s3,part-of=rapid 8333/TCP"}}
MLFLOW = {"component=mlflow,part-of=rapid 5000/TCP"}
HUB = {"0.0.0.0/0 443/TCP"}

NAMESPACE = {"gpu": "rapid", "local": "kubeflow", "everything": "rapid", "shared": "kubeflow"}
PODS = ("prepare", "rollout", "reward", "train", "pod", "publish")


def stage(rendering: str, component: str) -> Pod:
    """A pod of a KFP task, as the compiled pipeline labels it."""
    return ours(rendering, component, **{"workflows.argoproj.io/workflow": "rapid-x7k2p"})


def training(rendering: str) -> Pod:
    """A pod of a TrainJob."""
    return ours(rendering, "train", **{"jobset.sigs.k8s.io/jobset-name": "rapid-train-1"})


def ours(rendering: str, component: str, **more: str) -> Pod:
    labels = {"app.kubernetes.io/part-of": "rapid", "app.kubernetes.io/component": component}
    return Pod(NAMESPACE[rendering], labels | more)


@pytest.mark.parametrize("overlay", ["gpu", "local"])
def test_the_reward_stage_reaches_object_storage_and_what_kfp_needs_in_its_pod(overlay: str) -> None:
    expected = OBJECT_STORAGE[overlay] | DNS | LAUNCHER | KUBERNETES_API[overlay]
    assert Network(rendered(overlay)).reach(stage(overlay, "reward")) == expected


@pytest.mark.parametrize("overlay", ["gpu", "local"])
@pytest.mark.parametrize(
    ("component", "beyond_reward"),
    [("prepare", MLFLOW | HUB), ("rollout", set()), ("train", MLFLOW), ("pod", MLFLOW), ("publish", MLFLOW)],
)
def test_other_stages_reach_this_besides(overlay: str, component: str, beyond_reward: set[str]) -> None:
    network = Network(rendered(overlay))
    reward = network.reach(stage(overlay, "reward"))
    assert network.reach(stage(overlay, component)) == reward | beyond_reward


@pytest.mark.parametrize("overlay", ["gpu", "local"])
def test_training_pods_reach_storage_and_each_other(overlay: str) -> None:
    network = Network(rendered(overlay))
    peers = "component=train,part-of=rapid,jobset-name Exists any port"
    assert network.reach(training(overlay)) == OBJECT_STORAGE[overlay] | DNS | {peers}
    assert network.connects(training(overlay), training(overlay), 29500)
    assert not network.connects(stage(overlay, "reward"), training(overlay), 29500)
    assert not network.connects(training(overlay), stage(overlay, "rollout"), 29500)


@pytest.mark.parametrize("overlay", ["gpu", "local"])
@pytest.mark.parametrize("component", PODS)
def test_no_stage_reaches_neighbours_metadata_services_or_databases(overlay: str, component: str) -> None:
    network, pod = Network(rendered(overlay)), stage(overlay, component)
    assert not network.connects(pod, "169.254.169.254", 80)
    assert not network.connects(pod, "169.254.169.254", 443)
    assert not network.connects(pod, "10.96.0.17", 443)
    assert not network.connects(pod, "172.18.0.9", 443)
    assert not network.connects(pod, ours(overlay, "postgres"), 5432)
    assert not network.connects(pod, Pod("default", {"app": "someone"}), 443)
    assert not network.connects(pod, Pod("kubeflow", {"app": "mysql"}), 3306)
    assert network.connects(pod, "93.184.216.34", 443) == (component == "prepare")
    assert not network.connects(pod, "93.184.216.34", 80)


@pytest.mark.parametrize("overlay", ["gpu", "local"])
def test_who_gets_into_mlflow_its_database_and_the_s3_server(overlay: str) -> None:
    network = Network(rendered(overlay))
    mlflow, postgres = ours(overlay, "mlflow"), ours(overlay, "postgres")
    allowed = [c for c in PODS if network.connects(stage(overlay, c), mlflow, 5000)]
    assert allowed == ["prepare", "train", "pod", "publish"]
    assert not network.connects(training(overlay), mlflow, 5000)
    assert network.connects(mlflow, postgres, 5432)
    assert not network.connects(mlflow, postgres, 22)
    stranger = Pod("default", {"app.kubernetes.io/part-of": "rapid", "app.kubernetes.io/component": "train"})
    for target, port in ((mlflow, 5000), (postgres, 5432), (ours(overlay, "s3"), 8333)):
        assert not network.connects(stranger, target, port)
    assert network.reach(postgres) == DNS
    assert network.reach(ours(overlay, "bucket")) == DNS | OBJECT_STORAGE[overlay]
    assert network.reach(ours(overlay, "cache")) == DNS


def test_the_bucket_of_the_local_overlay_is_reached() -> None:
    network, s3 = Network(rendered("local")), ours("local", "s3")
    for source in (*(stage("local", c) for c in PODS), training("local"), ours("local", "mlflow")):
        assert network.connects(source, s3, 8333)
    assert not network.connects(stage("local", "train"), s3, 9333)


def test_without_addresses_the_base_reaches_no_storage() -> None:
    """Destinations that an overlay does not name stay closed."""
    assert Network(build(K8S / "base")).reach(stage("gpu", "reward")) == DNS | LAUNCHER


@pytest.mark.parametrize("rendering", ["gpu", "everything"])
def test_an_own_namespace_is_closed_to_all_but_what_belongs_there(rendering: str) -> None:
    network = Network(rendered(rendering))
    other, driver = Pod("rapid", {"app": "notebook"}), Pod("rapid", {"workflows.argoproj.io/workflow": "rapid-x7k2p"})
    assert network.reach(other) == DNS
    assert not network.connects(Pod("default", {}), other, 80)
    assert network.reach(driver) == DNS | LAUNCHER | KUBERNETES_API["gpu"]
    artifacts = Pod("rapid", {"app": "ml-pipeline-ui-artifact"})
    assert network.connects(Pod("kubeflow", {"app": "ml-pipeline-ui"}), artifacts, 3000)
    assert network.connects(artifacts, Pod("kubeflow", {"app": "seaweedfs"}), 8333)


@pytest.mark.parametrize("rendering", ["local", "shared"])
def test_in_a_shared_namespace_others_are_left_alone(rendering: str) -> None:
    network = Network(rendered(rendering))
    for labels in ({"app": "ml-pipeline"}, {"workflows.argoproj.io/workflow": "someone-else"}, {"app": "seaweedfs"}):
        other = Pod("kubeflow", labels)
        assert network.reach(other) == {"everything"}
        assert network.connects(Pod("default", {}), other, 80)
    assert not network.connects(Pod("default", {}), stage(rendering, "reward"), 80)


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_every_policy_says_which_directions_it_is_for(rendering: str) -> None:
    """Left out, a policy without egress rules would not limit egress."""
    for policy in (item for item in rendered(rendering) if item["kind"] == "NetworkPolicy"):
        spec = policy["spec"]
        assert set(spec["policyTypes"]) >= {d for d in ("Ingress", "Egress") if d.lower() in spec}, policy["metadata"]


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_what_is_not_opened_is_denied_in_both_directions(rendering: str) -> None:
    """By a policy of its own: the others may be narrowed without opening anything."""
    deny = one(rendered(rendering), "NetworkPolicy", "rapid-default-deny")
    network, pod = Network([deny]), stage(rendering, "reward")
    assert network.reach(pod) == set()
    assert not network.connects(Pod(pod.namespace, {}), pod, 80)


def test_a_wider_rule_would_be_noticed() -> None:
    """The computation itself: one more policy, and the reward stage reaches more."""
    objects = rendered("gpu")
    policy = one(objects, "NetworkPolicy", "rapid-to-object-storage")
    wider = {**policy, "spec": {**policy["spec"], "egress": [{}]}}
    reach = Network([*objects, wider]).reach(stage("gpu", "reward"))
    assert "anyone any port" in reach
    assert Network([*objects, wider]).connects(stage("gpu", "reward"), "93.184.216.34", 80)
