// Package check_test checks the chart against the types of Kubernetes and of the operators that it makes objects for.
// It is a module of its own so that nobody who builds Tributary carries those.
package check_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"
)

const chart = "../../../deploy/helm/tributary"

// everything is every optional part of the chart at once.
const everything = "testdata/everything.yaml"

// tool builds a program of the tools module, unless it is there.
func tool(t *testing.T, name, path string) string {
	t.Helper()
	bin, err := filepath.Abs("../../../bin/tools")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "-C", "../../../tools", "build", "-o", bin+string(filepath.Separator), path).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return filepath.Join(bin, name)
}

func helm(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, "helm", "helm.sh/helm/v3/cmd/helm"), arguments...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("helm %s: %w\n%s%s", strings.Join(arguments, " "), err, out.String(), said.String())
	}
	return out.String(), nil
}

// objects are what the chart makes, by kind and name.
type objects map[string]any

func render(t *testing.T, arguments ...string) objects {
	t.Helper()
	text, err := helm(t, append([]string{"template", "demo", chart, "--namespace", "streams", "--kube-version", "1.34.0"}, arguments...)...)
	if err != nil {
		t.Fatal(err)
	}
	found := objects{}
	documents := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		var head struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Metadata   struct{ Name, Namespace string }
		}
		if err := strict.Unmarshal(document, &head); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		if head.Kind == "" {
			continue // a comment alone
		}
		object := map[string]any{
			"apps/v1/Deployment": &apps.Deployment{}, "v1/Service": &core.Service{}, "v1/ConfigMap": &core.ConfigMap{}, "v1/ServiceAccount": &core.ServiceAccount{},
			"policy/v1/PodDisruptionBudget": &policy.PodDisruptionBudget{}, "networking.k8s.io/v1/NetworkPolicy": &networking.NetworkPolicy{},
			"monitoring.coreos.com/v1/ServiceMonitor": &monitoring.ServiceMonitor{},
			"keda.sh/v1alpha1/ScaledObject":           &keda.ScaledObject{}, "keda.sh/v1alpha1/TriggerAuthentication": &keda.TriggerAuthentication{},
		}[head.APIVersion+"/"+head.Kind]
		if object == nil {
			t.Fatalf("no type is known for %s %s", head.APIVersion, head.Kind)
		}
		if err := strict.UnmarshalStrict(document, object); err != nil {
			t.Errorf("%s %s: %v\n%s", head.Kind, head.Metadata.Name, err, document)
		}
		if head.Metadata.Namespace != "streams" {
			t.Errorf("%s %s is in namespace %q", head.Kind, head.Metadata.Name, head.Metadata.Namespace)
		}
		name := head.Kind + " " + head.Metadata.Name
		if found[name] != nil {
			t.Errorf("%s is there twice", name)
		}
		found[name] = object
	}
}

func names(o objects) []string {
	var all []string
	for name := range o {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func TestLint(t *testing.T) {
	for _, arguments := range [][]string{nil, {"--values", everything}} {
		if _, err := helm(t, append([]string{"lint", "--strict", "--kube-version", "1.34.0", chart}, arguments...)...); err != nil {
			t.Error(err)
		}
	}
}

func TestDefaults(t *testing.T) {
	got := names(render(t))
	want := []string{
		"Deployment demo-tributary-consume", "NetworkPolicy demo-tributary-consume", "PodDisruptionBudget demo-tributary-consume", "Service demo-tributary-consume",
		"ServiceAccount demo-tributary-consume",
	}
	if !slices.Equal(got, want) {
		t.Errorf("objects are %q, want %q", got, want)
	}
}

func TestEverything(t *testing.T) {
	all := render(t, "--values", everything)
	want := []string{
		"Deployment demo-tributary-consume", "Deployment demo-tributary-query",
		"NetworkPolicy demo-tributary-consume", "NetworkPolicy demo-tributary-query",
		"PodDisruptionBudget demo-tributary-consume", "PodDisruptionBudget demo-tributary-query",
		"ScaledObject demo-tributary-consume",
		"Service demo-tributary-consume", "Service demo-tributary-query", "Service demo-tributary-query-admin",
		"ServiceAccount demo-tributary-consume", "ServiceAccount demo-tributary-query",
		"ServiceMonitor demo-tributary", "TriggerAuthentication demo-tributary-consume",
	}
	if got := names(all); !slices.Equal(got, want) {
		t.Errorf("objects are %q, want %q", got, want)
	}
	scaled, _ := all["ScaledObject demo-tributary-consume"].(*keda.ScaledObject)
	if scaled.Spec.ScaleTargetRef.Name != "demo-tributary-consume" || scaled.Spec.Triggers[0].Metadata["scaleOnInFlight"] != "true" {
		t.Errorf("KEDA scales %s by %v", scaled.Spec.ScaleTargetRef.Name, scaled.Spec.Triggers[0].Metadata)
	}
	if d, _ := all["Deployment demo-tributary-consume"].(*apps.Deployment); d.Spec.Replicas != nil {
		t.Error("a scaled deployment has replicas, which every upgrade would set back")
	}
}

// TestPods checks what every pod must have, with defaults and with everything.
func TestPods(t *testing.T) {
	for name, arguments := range map[string][]string{"defaults": nil, "everything": {"--values", everything}} {
		t.Run(name, func(t *testing.T) {
			all := render(t, arguments...)
			for key, object := range all {
				d, ok := object.(*apps.Deployment)
				if !ok {
					continue
				}
				pod := d.Spec.Template.Spec
				container := pod.Containers[0]
				env := map[string]string{}
				for _, e := range container.Env {
					if _, twice := env[e.Name]; twice {
						t.Errorf("%s has %s twice", key, e.Name)
					}
					env[e.Name] = e.Value
				}
				role := strings.TrimPrefix(d.Name, "demo-tributary-")
				if env["TRIBUTARY_ROLE"] != role {
					t.Errorf("%s has the role %s", key, env["TRIBUTARY_ROLE"])
				}
				stopping, err := time.ParseDuration(env["TRIBUTARY_DRAIN_TIMEOUT"])
				if err != nil {
					t.Errorf("%s: the drain timeout: %v", key, err)
				}
				if role == "query" {
					duck, err := time.ParseDuration(env["TRIBUTARY_LAME_DUCK"])
					if err != nil || duck == 0 {
						t.Errorf("%s: the lame duck's time is %s: %v", key, duck, err)
					}
					stopping += duck
				}
				if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; grace < stopping+15*time.Second {
					t.Errorf("%s: the grace period is %s, stopping may take %s", key, grace, stopping)
				}
				inPod, inContainer := pod.SecurityContext, container.SecurityContext
				if !*inPod.RunAsNonRoot || *inPod.RunAsUser == 0 || inPod.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault ||
					!*inContainer.ReadOnlyRootFilesystem || *inContainer.AllowPrivilegeEscalation || !slices.Equal(inContainer.Capabilities.Drop, []core.Capability{"ALL"}) ||
					*pod.AutomountServiceAccountToken {
					t.Errorf("%s is not confined: %+v %+v", key, inPod, inContainer)
				}
				if container.LivenessProbe.HTTPGet.Path != "/healthz" || container.ReadinessProbe.HTTPGet.Path != "/readyz" {
					t.Errorf("%s has the probes %v and %v", key, container.LivenessProbe, container.ReadinessProbe)
				}
				for _, other := range []string{"Service " + d.Name, "Service " + d.Name + "-admin", "PodDisruptionBudget " + d.Name, "NetworkPolicy " + d.Name} {
					var selector map[string]string
					switch o := all[other].(type) {
					case *core.Service:
						selector = o.Spec.Selector
					case *policy.PodDisruptionBudget:
						selector = o.Spec.Selector.MatchLabels
					case *networking.NetworkPolicy:
						selector = o.Spec.PodSelector.MatchLabels
					default:
						continue
					}
					for label, value := range selector {
						if d.Spec.Template.Labels[label] != value {
							t.Errorf("%s selects %s=%s, its pods have %q", other, label, value, d.Spec.Template.Labels[label])
						}
					}
				}
			}
		})
	}
}

// TestEveryRoleIsScraped: however queries are exposed, the ServiceMonitor finds one Service of each role, and that one is
// for the cluster alone.
func TestEveryRoleIsScraped(t *testing.T) {
	for _, kind := range []core.ServiceType{core.ServiceTypeClusterIP, core.ServiceTypeNodePort, core.ServiceTypeLoadBalancer} {
		t.Run(string(kind), func(t *testing.T) {
			all := render(t, "--values", everything, "--set", "query.service.type="+string(kind))
			monitor, _ := all["ServiceMonitor demo-tributary"].(*monitoring.ServiceMonitor)
			if monitor == nil || len(monitor.Spec.Endpoints) != 1 {
				t.Fatalf("the ServiceMonitor is %+v", monitor)
			}
			if query, _ := all["Service demo-tributary-query"].(*core.Service); query.Spec.Type != kind {
				t.Errorf("the query Service is of type %q", query.Spec.Type)
			}
			scraped := map[string]int{}
			for key, object := range all {
				service, ok := object.(*core.Service)
				if !ok {
					continue
				}
				exposed := service.Spec.Type == core.ServiceTypeNodePort || service.Spec.Type == core.ServiceTypeLoadBalancer
				for _, port := range service.Spec.Ports {
					if port.Name != monitor.Spec.Endpoints[0].Port {
						continue
					}
					if exposed {
						t.Errorf("%s shows the admin port to whoever reaches it", key)
					}
					if labels.SelectorFromSet(monitor.Spec.Selector.MatchLabels).Matches(labels.Set(service.Labels)) {
						scraped[service.Spec.Selector["app.kubernetes.io/component"]]++
					}
				}
			}
			if want := map[string]int{"consume": 1, "query": 1}; !maps.Equal(scraped, want) {
				t.Errorf("the ServiceMonitor finds Services of %v, want %v", scraped, want)
			}
		})
	}
}

// TestAdminPortIsClosed: nothing in the cluster reaches the admin port until somebody is named, and then they alone do.
func TestAdminPortIsClosed(t *testing.T) {
	query := []string{"--set", "query.enabled=true,query.auth.tokensSecret=tokens"}
	from := []string{"--set", "networkPolicy.adminFrom[0].namespaceSelector.matchLabels.name=monitoring"}
	for name, c := range map[string]struct {
		arguments []string
		peers     int // that may ask the admin port
	}{
		"defaults": {query, 0}, "named": {append(slices.Clone(query), from...), 1}, "everything": {[]string{"--values", everything}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			all := render(t, c.arguments...)
			for _, role := range []string{"consume", "query"} {
				policy, _ := all["NetworkPolicy demo-tributary-"+role].(*networking.NetworkPolicy)
				if policy == nil || !slices.Contains(policy.Spec.PolicyTypes, networking.PolicyTypeIngress) {
					t.Fatalf("%s has the policy %+v", role, policy)
				}
				peers, queries := 0, 0
				for _, rule := range policy.Spec.Ingress {
					if len(rule.Ports) != 1 {
						t.Fatalf("a rule lets %d ports in", len(rule.Ports))
					}
					switch port := rule.Ports[0].Port.String(); port {
					case "admin":
						if len(rule.From) == 0 {
							t.Errorf("%s: everybody may ask the admin port", role)
						}
						peers += len(rule.From)
					case "query":
						queries++
					default:
						t.Errorf("%s: port %s is open", role, port)
					}
				}
				if peers != c.peers || (queries == 1) != (role == "query") {
					t.Errorf("%s: %d peers reach the admin port, want %d; %d rules are for queries", role, peers, c.peers, queries)
				}
			}
		})
	}
}

// TestPodsReachWhatTheyAreToldTo: the ports of the addresses in the values are open outwards, and no others.
func TestPodsReachWhatTheyAreToldTo(t *testing.T) {
	for set, want := range map[string][]string{
		"log.level=info": {"53", "53", "443", "80"}, // the last is EKS's agent
		"tracing.endpoint=http://collector.observability:4318":                                          {"53", "53", "443", "4318", "80"},
		"tracing.endpoint=https://collector.example/v1:9":                                               {"53", "53", "443", "80"},
		"tracing.endpoint=http://collector,aws.endpointURL=http://localstack:4566/x":                    {"53", "53", "443", "80", "4566", "80"},
		"aws.endpointURL=http://a:4566,tracing.endpoint=http://b:4566":                                  {"53", "53", "443", "4566", "80"},
		"query.enabled=true,query.auth.jwks=https://a:8443/k,query.auth.issuer=i,query.auth.audience=u": {"53", "53", "443", "80"}, // of consume
	} {
		policy, _ := render(t, "--set", set)["NetworkPolicy demo-tributary-consume"].(*networking.NetworkPolicy)
		var ports []string
		for _, rule := range policy.Spec.Egress {
			for _, port := range rule.Ports {
				ports = append(ports, port.Port.String())
			}
		}
		if !slices.Equal(ports, want) {
			t.Errorf("with %s pods may connect to the ports %q, want %q", set, ports, want)
		}
	}
	policy, _ := render(t, "--set", "query.enabled=true,query.auth.jwks=https://a:8443/k,query.auth.issuer=i,query.auth.audience=u")["NetworkPolicy demo-tributary-query"].(*networking.NetworkPolicy)
	if text := fmt.Sprint(policy.Spec.Egress); !strings.Contains(text, "8443") {
		t.Errorf("the query pods can't reach the keys of their tokens: %s", text)
	}
}

// TestWrongValues: the schema refuses what would only fail in the cluster.
func TestWrongValues(t *testing.T) {
	for _, set := range []string{
		"consume.writers=0", "consume.writes=3", "query.enabled=true", "autoscaling.enabled=true", "log.level=loud", "image.digest=latest", "consume.drainTimeoutSeconds=5",
		"serviceMonitor.enabled=true", "pprof=maybe", "podDisruptionBudget.maxUnavailable=many", "query.readerRole=reader", "consume.maxInFlightBytes=64", "query.lameDuck=5", "query.lameDuck=1500ms", "consume.maxInFlightBytes=64Mi",
	} {
		if _, err := helm(t, "template", "demo", chart, "--kube-version", "1.34.0", "--set", set); err == nil {
			t.Errorf("%s was accepted", set)
		}
	}
}

// TestValuesAreComplete: everything that the schema knows has a default in values.yaml.
func TestValuesAreComplete(t *testing.T) {
	read := func(path string) map[string]any {
		text, err := os.ReadFile(filepath.Join(chart, path))
		if err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		if err := strict.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	var compare func(path string, schema, values map[string]any)
	compare = func(path string, schema, values map[string]any) {
		properties, _ := schema["properties"].(map[string]any)
		for name, of := range properties {
			value, there := values[name]
			if !there && path+name != "global" {
				t.Errorf("values.yaml lacks %s%s", path, name)
			}
			if inner, ok := value.(map[string]any); ok {
				within, _ := of.(map[string]any)
				compare(path+name+".", within, inner)
			}
		}
	}
	compare("", read("values.schema.json"), read("values.yaml"))
}
