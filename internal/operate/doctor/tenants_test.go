package doctor

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// roundTripper is a client's transport as a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) Do(r *http.Request) (*http.Response, error) { return f(r) }

// lacking makes the doctor's calls to DynamoDB as credentials do that lack one action on the partitions whose keys begin with prefix.
func (w *world) lacking(action, prefix string) {
	options := w.tables.Options()
	next := options.HTTPClient
	options.HTTPClient = roundTripper(func(r *http.Request) (*http.Response, error) {
		if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), "."+action) || r.Body == nil {
			return next.Do(r)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		if !json.Valid(body) || !strings.Contains(string(body), `"`+prefix) {
			return next.Do(r)
		}
		return &http.Response{
			StatusCode: http.StatusBadRequest, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}, Request: r,
			Body: io.NopCloser(strings.NewReader(`{"__type":"com.amazon.coral.service#AccessDeniedException","message":"not authorized"}`)),
		}, nil
	})
	client := dynamodb.New(options)
	w.doctor.Items, w.doctor.Control = client, client
}

// TestTenantPermissions: each permission that is missing has its check, which says what does not work, and touches no other check.
func TestTenantPermissions(t *testing.T) {
	const controlKey, usageKey = "tributary#control", "tributary#usage#"
	for name, c := range map[string]struct {
		action, prefix string
		status         Status
		without        string // a part of the remedy
	}{
		checkControlRead:   {"GetItem", controlKey, Warning, "obeys no decision"},
		checkControlQuery:  {"Query", controlKey, Warning, "obeys no decision"},
		checkControlPut:    {"PutItem", controlKey, Warning, "can be confirmed"},
		checkControlDelete: {"DeleteItem", controlKey, Warning, "wait for it"},
		checkDecide:        {"UpdateItem", controlKey, Skipped, "can't suspend"},
		checkUsagePut:      {"PutItem", usageKey, Warning, "is not kept"},
		checkUsageQuery:    {"Query", usageKey, Skipped, "reports nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				w.lacking(c.action, c.prefix)
				checks := w.doctor.Examine(t.Context())
				expect(t, "unwell", unwell(t, checks), name+": "+string(c.status))
				remedy := checks[slices.IndexFunc(checks, func(check Check) bool { return check.Name == name })].Remedy
				for _, want := range []string{"allow dynamodb:" + c.action + " with the leading key " + c.prefix, c.without} {
					if !strings.Contains(remedy, want) {
						t.Errorf("the remedy %q lacks %q", remedy, want)
					}
				}
			})
		})
	}
}

// TestTrialsAreOfTheirPartitions: what doctor tries reads or would write under the keys that a policy names, and no others.
func TestTrialsAreOfTheirPartitions(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		for _, action := range []string{"GetItem", "Query", "PutItem", "BatchWriteItem", "DeleteItem", "UpdateItem"} {
			w.lacking(action, "tenant#")
			for _, c := range w.doctor.Examine(t.Context()) {
				if strings.HasSuffix(c.Name, "control") || strings.HasSuffix(c.Name, "usage") || c.Name == checkDecide {
					expect(t, action+", "+c.Name, string(c.Status), string(OK))
				}
			}
		}
	})
}

// forgetful carries out what a condition forbids.
type forgetful struct{ ControlAPI }

func (forgetful) DeleteItem(context.Context, *dynamodb.DeleteItemInput, ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error) {
	return &dynamodb.DeleteItemOutput{}, nil
}

func (forgetful) UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	return &dynamodb.UpdateItemOutput{}, nil
}

func TestConditionsOfControlMustBeKept(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.doctor.Control = forgetful{w.tables}
		expect(t, "unwell", unwell(t, w.doctor.Examine(t.Context())), "may delete control: warning, may decide: warning")
	})
}

// TestTrialsHaveNoEffect: with a control partition in use, doctor leaves it as it is.
func TestTrialsHaveNoEffect(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		item := keyIn("tributary#control")
		item["SK"] = &dynamotypes.AttributeValueMemberS{Value: "revision"}
		if _, err := w.tables.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("Table"), Item: item}); err != nil {
			t.Fatal(err)
		}
		expect(t, "unwell", unwell(t, w.doctor.Examine(t.Context())), "")
		out, err := w.tables.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("Table")})
		if err != nil || len(out.Items) != 1 || len(out.Items[0]) != 2 {
			t.Errorf("items %v, %v", out, err)
		}
	})
}
