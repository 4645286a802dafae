package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"tributary/internal/base/cli"
	"tributary/internal/messages"
	"tributary/internal/schema"
)

const clinic = `types:
  patient:
    fields:
      name:    {type: string, required: true, minLength: 1}
      born_on: {type: string, required: true, format: date}
      dose:    {type: number, minimum: 0.5}
      tags:    {type: array}
      address: {type: object}
  visit:
    fields:
      patient_id: {type: string, required: true, references: patient}
      minutes:    {type: integer, default: 15}
      kept:       {type: boolean}
`

// typesFile writes a declaration.
func typesFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "types.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPutAndDelete(t *testing.T) {
	const name = "tributary-commands"
	s := start(t, name)
	file := typesFile(t, clinic)
	for _, test := range []struct {
		args []string
		want string // %s is the id
	}{
		{[]string{"put", "patient", "--types", file, "--tenant", "t", "--id", "p1", "name=Ann = Lee", "born_on=1980-02-29"},
			`{"type":"put_patient","tenant_id":"t","patient_id":"p1","name":"Ann = Lee","born_on":"1980-02-29"}`},
		{[]string{"put", "patient", "name=A", "born_on=1980-02-29", "dose=1.50", `tags=[1, "x"]`, `address={"zip":"007"}`, "--tenant", "t", "--types", file, "--version", "3", "--attributes", `{"n":1.0}`},
			`{"type":"put_patient","tenant_id":"t","patient_id":"%s","name":"A","born_on":"1980-02-29","dose":"1.50","tags":[1, "x"],"address":{"zip":"007"},"version":3,"attributes":{"n":1.0}}`},
		{[]string{"put", "visit", "--types=" + file, "--tenant=t", "--version=9223372036854775807", "--id=v1", "--", "patient_id=p1", "minutes=-3e1", "kept=false"},
			`{"type":"put_visit","tenant_id":"t","visit_id":"v1","patient_id":"p1","minutes":-30,"kept":false,"version":9223372036854775807}`},
		{[]string{"put", "visit", "--types", file, "--tenant", "t", "--ids", "uuid4", "patient_id=p1"},
			`{"type":"put_visit","tenant_id":"t","visit_id":"%s","patient_id":"p1"}`},
		{[]string{"delete", "visit", "v1", "--types", file, "--tenant", "t", "--version", "8"}, `{"type":"delete_visit","tenant_id":"t","visit_id":"v1","version":8}`},
		{[]string{"delete", "visit", "--types", file, "--tenant", "t", "--", "-1"}, `{"type":"delete_visit","tenant_id":"t","visit_id":"-1"}`},
		// Without a file these are the built-in types.
		{[]string{"put", "order", "--tenant", "t", "--item-version", "2", "user_id=u1", "order_amount=-5.00"},
			`{"type":"put_order","tenant_id":"t","order_id":"%s","user_id":"u1","order_amount":"-5.00","version":2}`},
		{[]string{"put", "user", "--tenant", "t", "--id", "u1", "user_name=", "user_email=a@x"},
			`{"type":"put_user","tenant_id":"t","user_id":"u1","user_name":"","user_email":"a@x"}`},
		{[]string{"delete", "user", "--tenant", "t", "u1"}, `{"type":"delete_user","tenant_id":"t","user_id":"u1"}`},
	} {
		status, out, talk := producer(t, test.args...)
		if status != 0 || talk != "" {
			t.Fatalf("%v: status %d, out %q, talk %q", test.args, status, out, talk)
		}
		want := test.want
		if strings.Contains(want, "%s") {
			id := strings.TrimSuffix(out, "\n")
			version := uuid.Version(7)
			if strings.Contains(strings.Join(test.args, " "), "uuid4") {
				version = 4
			}
			if parsed, err := uuid.Parse(id); err != nil || parsed.Version() != version {
				t.Errorf("%v: id %q, %v", test.args, id, err)
			}
			want = fmt.Sprintf(want, id)
		}
		if got := s.receiveAll(t, name); len(got) != 1 || *got[0].Body != want {
			t.Errorf("%v: arrived %+v, want %s", test.args, got, want)
		}
	}
	t.Setenv("TRIBUTARY_TYPES", file)
	status, out, talk := producer(t, "put", "visit", "--tenant", "t", "--id", "v1", "patient_id=p1", "-o", "json")
	var said struct {
		ID      string
		Command json.RawMessage
	}
	if err := json.Unmarshal([]byte(out), &said); err != nil || status != 0 || said.ID != "v1" || !strings.Contains(string(said.Command), "put_visit") {
		t.Errorf("%d, %q, %q, %v", status, out, talk, err)
	}
	// Alone, --version is the program's.
	if status, out, _ := producer(t, "put", "visit", "--version"); status != 0 || !strings.HasPrefix(out, "producer ") {
		t.Errorf("status %d, %q", status, out)
	}
}

func TestWrongPutsAndDeletes(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1") // nothing is asked of AWS
	t.Setenv("TRIBUTARY_TYPES", typesFile(t, clinic))
	visit := []string{"put", "visit", "--tenant", "t"}
	patient := []string{"put", "patient", "--tenant", "t", "name=A"}
	with := func(args []string, more ...string) []string { return append(append([]string(nil), args...), more...) }
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"put", "vist", "--tenant", "t"}, `"vist" is not a type, did you mean visit?`},
		{[]string{"put", "order", "--tenant", "t"}, `"order" is not a type, the types are patient, visit`},
		{[]string{"delete", "put_visit", "--tenant", "t", "v1"}, `"put_visit" is not a type, the types are patient, visit`},
		{with(visit, "patient_id"), `"patient_id" is not FIELD=VALUE, such as patient_id=p1`},
		{with(visit, "patient=p1"), `"patient" is not a field of the type visit, the fields are patient_id, minutes, kept`},
		{with(visit, "minuts=5"), `"minuts" is not a field of the type visit, did you mean minutes?`},
		{with(visit, "patient_id=p1", "kept=true", "kept=true"), "kept: the field is there twice"},
		{with(visit, "visit_id=v1"), "visit_id: it is no field, use the flag --id"},
		{with(visit, "tenant_id=t"), "tenant_id: it is no field, use the flag --tenant"},
		{with(visit, "version=1"), "version: it is no field, use the flag --item-version"},
		{with(visit, "attributes={}"), "attributes: it is no field, use the flag --attributes"},
		{with(visit, "type=visit"), "type: the type stands before the fields: producer put visit"},
		{with(visit, "=x"), `"" is not a field of the type visit`},
		{with(patient, "born_on=1980-02-29", "name=Zo\xeb"), `the argument "name=Zo\xeb" is not valid UTF-8`},
		{with(patient, "--id", "Zo\xeb"), `the argument "Zo\xeb" is not valid UTF-8`},
		{visit, "patient_id: the field is missing, a put_visit must have it"},
		{with(visit, "patient_id=a#b"), `patient_id: "a#b" has '#', which separates the parts of a key`},
		{with(visit, "patient_id=p", "minutes=1.5"), "minutes: 1.5 is not an integer"},
		{with(visit, "patient_id=p", "kept=yes"), `kept: "yes" is neither true nor false`},
		{with(patient, "born_on=1980-02-30"), `born_on: "1980-02-30" is not a date such as 2026-11-24`},
		{with(patient, "born_on=1980-02-29", "dose="), `dose: "" is not a decimal number such as 150, 149.99 or 1.5e2`},
		{with(patient, "born_on=1980-02-29", "dose=0.4"), "dose: 0.4 is less than the minimum, 0.5"},
		{with(patient, "born_on=1980-02-29", "tags=a,b"), "tags: a,b is not an array"},
		{with(patient, "born_on=1980-02-29", `address={"a":1`), "address: it is not JSON: "},
		{with(visit, "patient_id=p", "--version", "0"), "--item-version: 0 is not 1 or more"},
		{with(visit, "patient_id=p", "--id", "a#b"), `--id: "a#b" has '#'`},
		{with(visit, "patient_id=p", "--attributes", "[]"), "--attributes: "},
		{[]string{"delete", "visit", "--tenant", "a b", "v1"}, `--tenant: "a b"`},
		{[]string{"delete", "visit", "--tenant", "t", "v#1"}, `ID: "v#1" has '#'`},
		{[]string{"put"}, "missing flags: --tenant=ID"},
		{[]string{"put-user", "--tenant", "t", "--user-name", "a", "--user-email", "b"}, "declares no type user: use producer put TYPE"},
		{[]string{"delete-order", "--tenant", "t", "--id", "o"}, "declares no type order: use producer put TYPE"},
		{[]string{"import", "-", "--type", "put_vist"}, `--type: "put_vist" is not one of put_patient, put_visit, delete_patient, delete_visit, did you mean put_visit?`},
		{[]string{"import", "-", "--map", "minuts=m"}, "only type, tenant_id, patient_id, visit_id, name, born_on, dose, tags, address, minutes, kept, version, did you mean minutes?"},
		{[]string{"generate", "--count", "vist=1"}, `--count: "vist" is not a type, did you mean visit?`},
		{[]string{"generate", "--count", "visit=-1"}, "--count visit: -1 is not from 0 to 1e+09"},
		{[]string{"generate", "--users", "1"}, "declares no type user, use --count TYPE=N"},
	} {
		status, out, talk := producer(t, test.args...)
		if status != cli.StatusUsage || out != "" || strings.Count(talk, "\n") != 1 || !strings.HasPrefix(talk, "producer: ") || !strings.Contains(talk, test.says) {
			t.Errorf("%v: status %d, out %q, talk %q, want %q in it", test.args, status, out, talk, test.says)
		}
	}
}

// A value that is long is no example for people.
func TestNoLongExamples(t *testing.T) {
	t.Setenv("TRIBUTARY_TYPES", typesFile(t, "types: {essay: {fields: {text: {type: string, minLength: 100000}}}}"))
	status, _, talk := producer(t, "put", "essay", "--tenant", "t", "text")
	if want := "producer: \"text\" is not FIELD=VALUE, such as text=VALUE\n"; status != cli.StatusUsage || talk != want {
		t.Errorf("status %d, %d bytes, want %s", status, len(talk), want)
	}
}

// A wrong file is told as it is, before anything else, by every command that reads it.
func TestWrongTypesFile(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	t.Chdir(t.TempDir())
	if err := os.WriteFile("types.yaml", []byte("types:\n  a:\n    fields:\n      f: {type: strng}\n  B: {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const want = "types.yaml:4: a.f: type is \"strng\", did you mean string?\ntypes.yaml:5: B: a type's name must be 1 to 32 of a-z 0-9 _, and begin with a letter\n"
	for _, args := range [][]string{
		{"put", "a", "--tenant", "t", "f=1"}, {"delete", "a", "--tenant", "t", "1"}, {"import", "none.csv"}, {"generate"},
		{"put-user", "--tenant", "t", "--user-name", "a", "--user-email", "b"}, {"delete-order", "--tenant", "t", "--id", "o"},
	} {
		status, out, talk := producer(t, append(args, "--types", "types.yaml")...)
		if status != cli.StatusUsage || out != "" || talk != want {
			t.Errorf("%v: status %d, out %q, talk %q", args, status, out, talk)
		}
		status, _, talk = producer(t, append(args, "--types", "none.yaml")...)
		if status != cli.StatusUsage || !strings.HasPrefix(talk, "producer: --types: ") || !strings.Contains(talk, "no such file") {
			t.Errorf("%v: no file: status %d, %q", args, status, talk)
		}
	}
}

// The commands of the built-in types hold for declared ones of these names, as far as their flags go.
func TestAliasesOfDeclaredTypes(t *testing.T) {
	s := start(t, "tributary-commands")
	const both = `types:
  user: {fields: {user_email: {type: string, required: true}, plan: {type: string}, user_name: {type: string, required: true, maxLength: 5}}}
  order: {fields: {user_id: {type: string, references: user}, order_amount: {type: integer}PLUS}}
`
	file := typesFile(t, strings.Replace(both, "PLUS", "", 1))
	for _, test := range []struct{ args, want string }{
		{"put-user --id u1 --user-name Ada --user-email a@x", `{"type":"put_user","tenant_id":"t","user_id":"u1","user_email":"a@x","user_name":"Ada"}`},
		{"put-order --id o1 --user-id u1 --order-amount -5", `{"type":"put_order","tenant_id":"t","order_id":"o1","user_id":"u1","order_amount":-5}`},
		{"delete-user --id u1", `{"type":"delete_user","tenant_id":"t","user_id":"u1"}`},
	} {
		status, _, talk := producer(t, append(strings.Fields(test.args), "--tenant", "t", "--types", file)...)
		if got := s.receiveAll(t, "tributary-commands"); status != 0 || len(got) != 1 || *got[0].Body != test.want {
			t.Errorf("%s: status %d, %q, arrived %+v", test.args, status, talk, got)
		}
	}
	more := typesFile(t, strings.Replace(both, "PLUS", ", currency: {type: string, required: true}", 1))
	less := typesFile(t, "types: {user: {fields: {user_name: {type: string}}}, order: {}}")
	for _, test := range []struct{ file, args, says string }{
		{file, "put-user --user-name Adelheid --user-email a@x", `--user-name: "Adelheid" has 8 characters, it may have at most 5`},
		{file, "put-order --user-id u1 --order-amount 1.5", "--order-amount: 1.5 is not an integer"},
		{more, "put-order --user-id u1 --order-amount 1", "put-order has no flag for currency, which that type needs: use producer put order"},
		{less, "put-user --user-name A --user-email a@x", "--user-email: the user of " + less + " has no field user_email: use producer put user"},
	} {
		status, out, talk := producer(t, append(strings.Fields(test.args), "--tenant", "t", "--types", test.file)...)
		if status != cli.StatusUsage || out != "" || talk != "producer: "+test.says+"\n" {
			t.Errorf("%s: status %d, %q, want %q", test.args, status, talk, test.says)
		}
	}
}

func TestHelpOfPut(t *testing.T) {
	for name, examples := range map[string][]string{
		"put":    {"<type> [<field=value> ...]", "producer put order --tenant acme user_id=u-1 order_amount=150.00", "--types=FILE", "--version N"},
		"delete": {"<type> <id>", "producer delete order --tenant acme o-1", "--types=FILE"},
	} {
		status, out, _ := producer(t, name, "--help")
		for _, want := range examples {
			if status != 0 || !strings.Contains(out, want) {
				t.Errorf("%s: status %d, no %q in %s", name, status, want, out)
			}
		}
	}
}

func TestImportAndGenerateOfDeclaredTypes(t *testing.T) {
	s := start(t, "tributary-commands")
	file := typesFile(t, clinic)
	types, err := schema.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	decodeAll := func(text string) {
		t.Helper()
		for line := range strings.Lines(text) {
			decoded, bad := messages.Decode(types, nil, line, nil)
			if bad != nil || decoded[0].Err != nil {
				t.Fatalf("%v, %v: %s", bad, decoded[0].Err, line)
			}
		}
	}
	rows := "visit_id,patient_id,length,kept\nv1,p1,20,true\nv2,p1,,\nv3,p2,soon,false\n"
	args := []string{"import", "-", "--types", file, "--type", "put_visit", "--tenant", "t", "--map", "minutes=length"}
	t.Chdir(t.TempDir())
	status, out, talk := producerIn(t, rows, append(args, "--dry-run")...)
	decodeAll(out)
	if status != cli.StatusPartial || strings.Count(out, "\n") != 2 || !strings.Contains(talk, `-:4: minutes: "soon" is not a decimal number`) ||
		!strings.HasPrefix(out, `{"type":"put_visit","tenant_id":"t","visit_id":"v1","patient_id":"p1","minutes":20,"kept":true}`) {
		t.Errorf("status %d, %s, %s", status, out, talk)
	}
	status, _, talk = producerIn(t, rows, args...)
	if got := s.receiveAll(t, "tributary-commands"); status != cli.StatusPartial || len(got) != 1 || !strings.Contains(talk, "4 DynamoDB write units") {
		t.Errorf("status %d, %s, %+v", status, talk, got)
	}
	counts := []string{"generate", "--types", file, "--tenants", "3", "--count", "patient=9,visit=50", "--update-share", "0.3", "--versions"}
	status, out, talk = producer(t, append(counts, "--file", "-")...)
	decodeAll(out)
	if status != 0 || strings.Count(out, "\n") != 59 || strings.Count(out, "put_patient") != 9 {
		t.Errorf("status %d, %s, %s", status, out, talk)
	}
	if status, _, talk := producer(t, counts...); status != 0 || !strings.HasPrefix(talk, "59 commands") {
		t.Errorf("status %d, %s", status, talk)
	}
	// What is generated can be imported.
	status, _, talk = producerIn(t, out, "import", "-", "--types", file, "--format", "jsonl")
	if status != 0 || !strings.HasPrefix(talk, "59 rows: 59 commands") {
		t.Errorf("status %d, %s", status, talk)
	}
}
