package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"tributary/internal/operate/setup"
	"tributary/internal/schema"
)

// declare makes the doctor examine for the types of a file, and has setup make what they need.
func (w *world) declare(text string, makes bool) *schema.Set {
	w.t.Helper()
	declared, err := schema.Read("types.yaml", []byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	w.doctor.Types, w.doctor.TypesFile = declared, "types.yaml"
	if makes {
		does := setup.Setup{Queues: w.queues, Tables: w.tables, Features: w.tables}
		if _, err := does.Run(w.t.Context(), &setup.Plan{Queue: "commands", DeadLetters: "commands-dlq", Table: "Table", Types: declared, Update: true}); err != nil {
			w.t.Fatal(err)
		}
	}
	return declared
}

// deleteIndex deletes an index of the table.
func (w *world) deleteIndex(name string) {
	w.t.Helper()
	if _, err := w.tables.UpdateTable(w.t.Context(), &dynamodb.UpdateTableInput{TableName: aws.String("Table"), GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{
		{Delete: &types.DeleteGlobalSecondaryIndexAction{IndexName: &name}},
	}}); err != nil {
		w.t.Fatal(err)
	}
}

const clinic = `
types:
  patient:
  room:
  visit:
    plural: visits
    fields:
      patient_id: {type: string, references: patient}
      room_id: {type: string, references: room}
  bill:
    fields:
      patient_id: {type: string, references: patient}
`

func TestEachReferencesIndexIsChecked(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		declared := w.declare(clinic, true)
		checks := w.doctor.Examine(t.Context())
		expect(t, "all of it", unwell(t, checks), "")
		if c := checks[0]; c.Name != "types" || !strings.Contains(c.Found, "types.yaml, fingerprint "+declared.Fingerprint) {
			t.Errorf("the types are told as %+v", c)
		}
		for _, r := range declared.References {
			w.deleteIndex(r.Index)
			checks := w.doctor.Examine(t.Context())
			expect(t, "without "+r.Index, unwell(t, checks), "index "+r.Index+": warning")
			for _, c := range checks {
				if c.Status == Warning && (!strings.HasPrefix(c.Found, r.Index+": none: "+setup.Answers(r)+" can't be asked for") || c.Remedy != "worker setup --update adds it") {
					t.Errorf("without %s: %+v", r.Index, c)
				}
			}
			w.declare(clinic, true)
		}
		// The doctor finds what setup makes, and setup makes what the doctor misses.
		expect(t, "made again", unwell(t, w.doctor.Examine(t.Context())), "")
	})
}

func TestAnIndexOfTheNameWithOtherKeysIsFound(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		declared := w.declare(clinic, true)
		r := declared.References[1]
		w.deleteIndex(r.Index)
		if _, err := w.tables.UpdateTable(t.Context(), &dynamodb.UpdateTableInput{TableName: aws.String("Table"), GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{
			{Create: &types.CreateGlobalSecondaryIndexAction{IndexName: &r.Index, KeySchema: setup.TableKeys(), Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll}}},
		}}); err != nil {
			t.Fatal(err)
		}
		checks := w.doctor.Examine(t.Context())
		expect(t, "unwell", unwell(t, checks), "index "+r.Index+": warning")
		for _, c := range checks {
			if c.Status == Warning && !strings.Contains(c.Remedy, "delete it") {
				t.Errorf("remedy of %+v", c)
			}
		}
	})
}

func TestTypesWithoutReferencesNeedNoIndex(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.declare("types:\n  meter:\n", false)
		w.deleteIndex(schema.Builtin().References[0].Index)
		checks := w.doctor.Examine(t.Context())
		expect(t, "unwell", unwell(t, checks), "")
		if slices.ContainsFunc(checks, func(c Check) bool { return strings.Contains(c.Name, "index") }) {
			t.Errorf("an index is looked at: %+v", checks)
		}
		w.doctor.Table = "None"
		for _, c := range w.doctor.Examine(t.Context()) {
			if strings.Contains(c.Name, "index") {
				t.Errorf("without a table an index is looked at: %+v", c)
			}
		}
	})
}

// A table whose keys fit the built-in types may not fit the declared ones.
func TestKeysMustFitTheDeclaredTypes(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.declare("types:\n  meter:\n    fields:\n      user_id: {type: integer}\n", false)
		if unwell := unwell(t, w.doctor.Examine(t.Context())); !strings.HasPrefix(unwell, "keys: failed") {
			t.Errorf("unwell: %s", unwell)
		}
	})
}

// named answers as AWS does where the policy doesn't have one index.
type named struct {
	ItemAPI
	index string
	asked []string
}

func (n *named) Query(ctx context.Context, in *dynamodb.QueryInput, options ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	if in.IndexName != nil {
		n.asked = append(n.asked, *in.IndexName)
	}
	if aws.ToString(in.IndexName) == n.index {
		return nil, &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "not authorized"}
	}
	return n.ItemAPI.Query(ctx, in, options...)
}

func TestAPermissionForEachIndexIsTried(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		declared := w.declare(clinic, true)
		for i, r := range declared.References {
			policy := &named{ItemAPI: w.tables, index: r.Index}
			w.doctor.Items = policy
			checks := w.doctor.Examine(t.Context())
			expect(t, r.Index, unwell(t, checks), checkByIndex+": failed")
			expect(t, "tried before "+r.Index, fmt.Sprint(len(policy.asked)), fmt.Sprint(i+1))
			for _, c := range checks {
				if c.Status == Failed && (!strings.Contains(c.Found, r.Index) || !strings.Contains(c.Remedy, "index/*")) {
					t.Errorf("%+v", c)
				}
			}
		}
		policy := &named{ItemAPI: w.tables}
		w.doctor.Items = policy
		w.doctor.Examine(t.Context())
		expect(t, "tried", fmt.Sprint(policy.asked), fmt.Sprint([]string{declared.References[0].Index, declared.References[1].Index, declared.References[2].Index}))
	})
}
