package setup

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/internal/schema"
)

// referring returns types with n references to one. Every other reference is a field that several types have, so that indexes share a
// key attribute.
func referring(t *testing.T, n int) *schema.Set {
	t.Helper()
	text := "types:\n  asset:\n"
	for i := range n {
		field := "asset_id"
		if i%2 == 1 {
			field = fmt.Sprintf("asset_%d", i)
		}
		text += fmt.Sprintf("  part%d:\n    fields:\n      %s: {type: string, references: asset}\n", i, field)
	}
	types, err := schema.Read("types.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return types
}

// oneIndexACall is DynamoDB as AWS has it: a call adds one index at most, and defines the attributes of its keys and no others.
type oneIndexACall struct {
	TableAPI
	t *testing.T
}

func (o oneIndexACall) UpdateTable(ctx context.Context, in *dynamodb.UpdateTableInput, options ...func(*dynamodb.Options)) (*dynamodb.UpdateTableOutput, error) {
	creates, defined := 0, map[string]bool{}
	for _, a := range in.AttributeDefinitions {
		defined[aws.ToString(a.AttributeName)] = true
	}
	for _, u := range in.GlobalSecondaryIndexUpdates {
		if u.Create == nil {
			continue
		}
		creates++
		if len(defined) != len(u.Create.KeySchema) {
			o.t.Errorf("index %s has %d keys, %d attributes are defined", *u.Create.IndexName, len(u.Create.KeySchema), len(defined))
		}
		for _, k := range u.Create.KeySchema {
			if !defined[aws.ToString(k.AttributeName)] {
				o.t.Errorf("index %s: its key %s is not defined", *u.Create.IndexName, *k.AttributeName)
			}
		}
	}
	if creates > 1 {
		return nil, &types.LimitExceededException{Message: aws.String("Only 1 online index can be created or deleted simultaneously per table")}
	}
	return o.TableAPI.UpdateTable(ctx, in, options...)
}

// hasIndexes checks that a table has the index of every reference, as the query API needs it.
func (w *world) hasIndexes(declared *schema.Set) {
	w.t.Helper()
	description := w.describe("Table")
	for _, r := range declared.References {
		if d := CompareIndex(description, r); d != nil {
			w.t.Errorf("%s: is %s, want %s", d.Setting, d.Is, d.Want)
		}
	}
}

func TestEachReferenceHasAnIndex(t *testing.T) {
	for _, n := range []int{0, 1, 3, 16} {
		t.Run(fmt.Sprintf("%d from nothing", n), func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				p := plan()
				p.Types = referring(t, n)
				done := w.run(p)
				expect(t, "first", outcomes(done), "created; created; created")
				expect(t, "told", fmt.Sprint(strings.Count(done[2].Settings, "index part")), fmt.Sprint(n))
				w.hasIndexes(p.Types)
				expect(t, "indexes", fmt.Sprint(len(w.describe("Table").GlobalSecondaryIndexes)), fmt.Sprint(n))
				p.Update = true
				expect(t, "again", outcomes(w.run(p)), "unchanged; unchanged; unchanged")
			})
		})
		t.Run(fmt.Sprintf("%d beside the built-in types' index", n), func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				w.run(plan())
				w.setup.Tables = oneIndexACall{w.tables, t}
				p := plan()
				p.Types = referring(t, n)
				missing, made := "unchanged", "unchanged"
				for i, r := range p.Types.References {
					if i == 0 {
						missing, made = "differs", "updated"
					}
					missing += " index " + r.Index
					made += " index " + r.Index + "!"
				}
				expect(t, "compared", outcomes(w.run(p)), "unchanged; unchanged; "+missing)
				p.Update = true
				expect(t, "updated", outcomes(w.run(p)), "unchanged; unchanged; "+made)
				w.hasIndexes(p.Types)
				w.hasIndexes(schema.Builtin()) // what no type declares is left alone
				expect(t, "again", outcomes(w.run(p)), "unchanged; unchanged; unchanged")
			})
		})
	}
}

// DynamoDB adds one index at a time: setup waits for each before it asks for the next, and tells which one it waits for.
func TestIndexesAreMadeOneAfterTheOther(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.run(plan())
		w.setup.Tables = &slowTables{TableAPI: w.tables, TableFeatureAPI: w.tables}
		p := plan()
		p.Types, p.Update = referring(t, 3), true
		began := time.Now()
		w.run(p)
		expect(t, "took", time.Since(began).String(), (3 * indexTakes).String())
		w.hasIndexes(p.Types)
	})
}

// A setup whose time is over has made some indexes; the next one makes the others.
func TestIndexesThatAreMissingAfterAnInterruption(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.run(plan())
		slow := &slowTables{TableAPI: w.tables, TableFeatureAPI: w.tables}
		w.setup.Tables = slow
		p := plan()
		p.Types, p.Update = referring(t, 3), true
		ctx, cancel := context.WithTimeout(t.Context(), indexTakes+time.Second)
		defer cancel()
		done, err := w.setup.Run(ctx, p)
		if err == nil {
			t.Fatalf("all of it was done in time: %+v", done)
		}
		time.Sleep(time.Until(slow.ready))
		first, second, third := p.Types.References[0].Index, p.Types.References[1].Index, p.Types.References[2].Index
		expect(t, "done by then", outcomes(done[2:]), "differs index "+first+"! index "+second+"!")
		expect(t, "the rest", outcomes(w.run(p)), "unchanged; unchanged; updated index "+third+"!")
	})
}

func TestEveryDeclaredIndexHasTheCapacity(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := plan()
		p.Types, p.ReadCapacity, p.WriteCapacity = referring(t, 3), 5, 6
		w.run(p)
		p.WriteCapacity, p.Update = 7, true
		w.run(p)
		for _, index := range w.describe("Table").GlobalSecondaryIndexes {
			if units := aws.ToInt64(index.ProvisionedThroughput.WriteCapacityUnits); units != 7 {
				t.Errorf("index %s has %d write units, want 7", *index.IndexName, units)
			}
		}
	})
}

// An index of the name with other keys can't be changed: setup says how to have it made anew, and makes the others.
func TestAnIndexWithOtherKeysHasARemedy(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		p := plan()
		p.Types = referring(t, 3)
		wrong := p.Types.References[1]
		_, err := w.tables.CreateTable(t.Context(), &dynamodb.CreateTableInput{
			TableName: &p.Table, KeySchema: TableKeys(), AttributeDefinitions: keyAttributes(nil), BillingMode: types.BillingModePayPerRequest,
			GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
				IndexName: &wrong.Index, KeySchema: TableKeys(), Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		p.Update = true
		done := w.run(p)
		first, third := p.Types.References[0].Index, p.Types.References[2].Index
		expect(t, "outcomes", outcomes(done[2:]), "differs index "+first+"! index "+wrong.Index+" index "+third+"! TTL!")
		if d := done[2].Differences[1]; d.Is != "hash PK, range SK, all attributes" || !strings.Contains(d.Remedy, `"IndexName":"`+wrong.Index+`"`) {
			t.Errorf("the wrong one: %+v", d)
		}
	})
}

// A key of an index of another type than the declared field's would make DynamoDB refuse every item with the field.
func TestKeysAreComparedWithTheDeclaredTypes(t *testing.T) {
	declared, err := schema.Read("types.yaml", []byte("types:\n  meter:\n    fields:\n      user_id: {type: integer}\n      order_amount: {type: string}\n"))
	if err != nil {
		t.Fatal(err)
	}
	definition := func(name string, kind types.ScalarAttributeType) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: &name, AttributeType: kind}
	}
	table := &types.TableDescription{KeySchema: TableKeys(), AttributeDefinitions: keyAttributes(schema.Builtin().References)}
	if d := CompareKeys(table, schema.Builtin()); d != nil {
		t.Errorf("the built-in types: %+v", d)
	}
	if d := CompareKeys(table, declared); d == nil || !strings.Contains(d.Is, "user_id of type S") {
		t.Errorf("user_id as an integer: %+v", d)
	}
	table.AttributeDefinitions = append(keyAttributes(nil), definition("user_id", types.ScalarAttributeTypeN), definition("order_amount", types.ScalarAttributeTypeS))
	if d := CompareKeys(table, declared); d != nil {
		t.Errorf("an index of integers and one of texts: %+v", d)
	}
}

// DynamoDB refuses an attribute that is defined twice, or that is no key.
func TestKeyAttributesAreDefinedOnce(t *testing.T) {
	var names []string
	for _, a := range keyAttributes(referring(t, 5).References) {
		names = append(names, string(a.AttributeType)+" "+aws.ToString(a.AttributeName))
	}
	expect(t, "attributes", strings.Join(names, ", "), "S PK, S SK, S asset_id, S asset_1, S asset_3")
}

func TestAnswersAreNamed(t *testing.T) {
	if got := Answers(schema.Builtin().References[0]); got != "a user's orders" {
		t.Errorf("the built-in types' are %s", got)
	}
	if got := Answers(referring(t, 1).References[0]); got != "an asset's part0s" {
		t.Errorf("the parts are %s", got)
	}
}
