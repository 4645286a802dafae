package check_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
)

// declared is a file of types with characters that a template could spoil.
const declared = `# A clinic's.
types:
  patient:
    description: "Somebody who is treated {{ here }}: \"quoted\", ünïcode"
    fields:
      name: {type: string, required: true}
  visit:
    fields:
      patient_id: {type: string, required: true, references: patient}
`

// withTypes renders both roles with a file of types.
func withTypes(t *testing.T, text string, arguments ...string) objects {
	t.Helper()
	path := filepath.Join(t.TempDir(), "types.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return render(t, append([]string{"--set-file", "types=" + path, "--set", "query.enabled=true,query.auth.tokensSecret=tokens"}, arguments...)...)
}

// deployments returns the pods' templates by role.
func deployments(o objects) map[string]core.PodTemplateSpec {
	found := map[string]core.PodTemplateSpec{}
	for _, object := range o {
		if d, ok := object.(*apps.Deployment); ok {
			found[strings.TrimPrefix(d.Name, "demo-tributary-")] = d.Spec.Template
		}
	}
	return found
}

// TestTypesReachEveryPod follows the file from the value to where each worker looks for it.
func TestTypesReachEveryPod(t *testing.T) {
	all := withTypes(t, declared)
	held, _ := all["ConfigMap demo-tributary-types"].(*core.ConfigMap)
	if held == nil || held.Data["types.yaml"] != declared {
		t.Fatalf("the ConfigMap is %+v", held)
	}
	pods := deployments(all)
	if len(pods) != 2 {
		t.Fatalf("there are %d deployments", len(pods))
	}
	bin := worker(t)
	file := filepath.Join(t.TempDir(), "types.yaml")
	if err := os.WriteFile(file, []byte(held.Data["types.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	for role, pod := range pods {
		container := pod.Spec.Containers[0]
		at := slices.IndexFunc(container.Env, func(e core.EnvVar) bool { return e.Name == "TRIBUTARY_TYPES" })
		if at < 0 {
			t.Fatalf("%s is told no types", role)
		}
		folder, name := filepath.Split(container.Env[at].Value)
		mount := slices.IndexFunc(container.VolumeMounts, func(m core.VolumeMount) bool { return m.MountPath == filepath.Clean(folder) && m.ReadOnly })
		if mount < 0 || held.Data[name] == "" {
			t.Fatalf("%s looks for %s and has the mounts %+v", role, container.Env[at].Value, container.VolumeMounts)
		}
		volume := slices.IndexFunc(pod.Spec.Volumes, func(v core.Volume) bool { return v.Name == container.VolumeMounts[mount].Name })
		if volume < 0 || pod.Spec.Volumes[volume].ConfigMap == nil || pod.Spec.Volumes[volume].ConfigMap.Name != held.Name {
			t.Errorf("%s mounts %+v", role, pod.Spec.Volumes)
		}
		// The worker takes what is there: it gets as far as AWS, which is not there.
		container.Env[at].Value = file
		if status, said := try(t, bin, container); status != 1 {
			t.Errorf("%s ends with status %d: %s", role, status, said)
		}
		container.Env[at].Value = file + ".none"
		if status, _ := try(t, bin, container); status != 2 {
			t.Errorf("this test can't fail: without the file %s ends with status %d", role, status)
		}
	}
	if mounts := pods["query"].Spec.Containers[0].VolumeMounts; len(mounts) != 2 || len(pods["query"].Spec.Volumes) != 2 {
		t.Errorf("the query pods' tokens are gone: %+v", mounts)
	}
}

// TestPodsRollWithTheirTypes: other types are another template, and the same types the same one.
func TestPodsRollWithTheirTypes(t *testing.T) {
	const annotation = "checksum/types"
	own := []string{"--set", "consume.podAnnotations.mine=yes"}
	before, same, after := deployments(withTypes(t, declared, own...)), deployments(withTypes(t, declared, own...)), deployments(withTypes(t, declared+"  room:\n", own...))
	for role := range before {
		was := before[role].Annotations[annotation]
		if was == "" || was != same[role].Annotations[annotation] || was == after[role].Annotations[annotation] {
			t.Errorf("%s: the checksums are %q, %q and %q", role, was, same[role].Annotations[annotation], after[role].Annotations[annotation])
		}
	}
	if before["consume"].Annotations["mine"] != "yes" {
		t.Errorf("the annotations are %v", before["consume"].Annotations)
	}
}

// TestNothingIsThereWithoutTypes: pods, annotations and environment are as they were.
func TestNothingIsThereWithoutTypes(t *testing.T) {
	all := render(t, "--set", "query.enabled=true,query.auth.tokensSecret=tokens")
	if all["ConfigMap demo-tributary-types"] != nil {
		t.Error("there is a ConfigMap")
	}
	volumes := map[string]int{"consume": 0, "query": 1} // that of the tokens
	for role, pod := range deployments(all) {
		container := pod.Spec.Containers[0]
		if slices.ContainsFunc(container.Env, func(e core.EnvVar) bool { return e.Name == "TRIBUTARY_TYPES" }) || len(pod.Annotations) != 0 ||
			len(pod.Spec.Volumes) != volumes[role] || len(container.VolumeMounts) != volumes[role] {
			t.Errorf("%s has %+v and the annotations %v", role, pod.Spec.Volumes, pod.Annotations)
		}
	}
}

// TestWrongTypesAreRefused: a path in place of the text would only fail in the cluster.
func TestWrongTypesAreRefused(t *testing.T) {
	for name, values := range map[string]string{
		"a path": "types: types.yaml", "a mapping": "types: {types: {a: }}", "not YAML": `types: "types: ["`, "other YAML": `types: "a: b"`,
		"a large text": "types: 'types: " + strings.Repeat("x", 256<<10) + "'",
	} {
		path := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(path, []byte(values), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := helm(t, "template", "demo", chart, "--kube-version", "1.34.0", "--values", path); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
