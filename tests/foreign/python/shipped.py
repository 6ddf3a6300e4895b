"""What linters and schemas say of packaging/. Usage: shipped.py REPOSITORY"""

import pathlib
import subprocess
import sys
import unittest

import yaml

PACKAGING = pathlib.Path(sys.argv.pop(1)) / "packaging"
TOOLS = pathlib.Path(sys.executable).parent
YAML_RULES = "{extends: default, rules: {line-length: {max: 160}, document-start: disable, octal-values: disable}}"


def said(tool: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, timeout=120, check=False, **options)


def manifests() -> list[pathlib.Path]:
    return sorted(path for path in (PACKAGING / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml")


def of_kind(kind: str) -> dict:
    (found,) = [document for path in manifests() for document in yaml.safe_load_all(path.read_text("utf-8")) if document["kind"] == kind]
    return found


class Shipped(unittest.TestCase):
    def clean(self, answer: subprocess.CompletedProcess):
        self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)

    def test_yaml_is_tidy(self):
        self.clean(said("yamllint", "--strict", "-d", YAML_RULES, str(PACKAGING)))

    def test_the_dockerfile_is_good(self):
        self.clean(said("hadolint", str(PACKAGING / "Dockerfile")))
        worse = (PACKAGING / "Dockerfile").read_text("utf-8") + "RUN sudo apt-get install curl\n"
        self.assertNotEqual(said("hadolint", "-", input=worse).returncode, 0, "the linter lints nothing")

    def test_the_compose_file_is_one(self):
        self.clean(said("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(PACKAGING / "compose.yaml")))

    def test_compose_keeps_everybody_in(self):
        compose = yaml.safe_load((PACKAGING / "compose.yaml").read_text("utf-8"))
        self.assertEqual(set(compose["services"]), {"redis", "helsebro", "helseid", "fhir"})
        for name, service in compose["services"].items():
            with self.subTest(name):
                self.assertTrue(service["read_only"])
                self.assertEqual((service["cap_drop"], service["security_opt"]), (["ALL"], ["no-new-privileges:true"]))
                self.assertIn("healthcheck", service)
                self.assertTrue(all(port.startswith("127.0.0.1:") for port in service.get("ports", [])))
                self.assertLessEqual(set(service.get("secrets", [])), set(compose["secrets"]))
                self.assertLessEqual({config["source"] for config in service.get("configs", [])}, set(compose["configs"]))
        self.assertTrue(compose["networks"]["store"]["internal"])
        self.assertEqual(compose["services"]["redis"]["networks"], ["store"])

    def test_kubernetes_takes_the_manifests(self):
        self.assertEqual(len(manifests()), 7)
        for path in manifests():
            with self.subTest(path.name):
                self.clean(said("kubernetes-validate", "--strict", str(path)))

    def test_pods_have_no_rights(self):
        pod = of_kind("Deployment")["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        self.assertTrue(pod["securityContext"]["runAsNonRoot"])
        self.assertFalse(pod["automountServiceAccountToken"])
        self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
        wanted = {"allowPrivilegeEscalation": False, "privileged": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        self.assertEqual(container["securityContext"], wanted)
        ports = {port["name"] for port in container["ports"]}
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
            self.assertIn(container[probe]["httpGet"]["port"], ports)

    def test_selectors_meet_the_pods(self):
        labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
        self.assertEqual(of_kind("Deployment")["spec"]["selector"]["matchLabels"], labels)
        self.assertEqual(of_kind("Service")["spec"]["selector"], labels)
        self.assertEqual(of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"], labels)
        self.assertEqual(of_kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"], labels)
        self.assertIn("configMapGenerator", yaml.safe_load((PACKAGING / "kubernetes/kustomization.yaml").read_text("utf-8")))


if __name__ == "__main__":
    unittest.main()
