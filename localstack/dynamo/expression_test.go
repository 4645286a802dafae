package dynamo_test

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/localstack/dynamo"
)

func list(v ...types.AttributeValue) types.AttributeValue {
	return &types.AttributeValueMemberL{Value: v}
}
func object(m attributes) types.AttributeValue { return &types.AttributeValueMemberM{Value: m} }
func truth(b bool) types.AttributeValue        { return &types.AttributeValueMemberBOOL{Value: b} }
func strs(s ...string) types.AttributeValue    { return &types.AttributeValueMemberSS{Value: s} }
func nums(s ...string) types.AttributeValue    { return &types.AttributeValueMemberNS{Value: s} }

const exact = "12345678901234567890123456789012345678" // 38 digits

// all is an item with something of every type.
func all() attributes {
	return keyed("t", "o", "s", str("abc"), "e", str("é𝄞"), "n", num("10"), "big", num(exact), "b", bytes("\x01\xFF"), "bool", truth(true),
		"nul", &types.AttributeValueMemberNULL{Value: true}, "l", list(num("1"), str("a"), object(attributes{"k": str("v")}), list(num("7"))),
		"m", object(attributes{"k": str("v"), "n": num("1"), "a.b": str("q")}), "ss", strs("a", "b"), "ns", nums("1", "2"),
		"bs", &types.AttributeValueMemberBS{Value: [][]byte{[]byte("x")}}, "a.b", str("dot"), "status", str("x"))
}

// named are the placeholders that are in an expression, nil where none is.
func named(expression string) map[string]string {
	var out map[string]string
	for placeholder, name := range map[string]string{"#dot": "a.b", "#status": "status", "#again": "s"} {
		if strings.Contains(expression, placeholder) {
			if out == nil {
				out = make(map[string]string)
			}
			out[placeholder] = name
		}
	}
	return out
}

// refused is what a table wants where an expression is a ValidationException.
const refused = "refused"

// TestConditions holds conditions and filters to what DynamoDB Local answers.
func TestConditions(t *testing.T) {
	null := &types.AttributeValueMemberNULL{Value: true}
	tests := []struct {
		expression string
		a, b       types.AttributeValue // :a and :b
		want       string               // holds, no or refused
	}{
		// the product's own
		{"attribute_not_exists(version) OR version < :a", num("1"), nil, "holds"},
		{"attribute_not_exists(n) OR n < :a", num("11"), nil, "holds"},
		{"attribute_not_exists(n) OR n < :a", num("10.0"), nil, "no"},
		{"attribute_not_exists(big) OR big < :a", num("12345678901234567890123456789012345679"), nil, "holds"},
		{"attribute_not_exists(big) OR big < :a", num(exact), nil, "no"},
		{"attribute_not_exists(big) OR big < :a", num("12345678901234567890123456789012345677"), nil, "no"},
		{"attribute_not_exists(deleted)", nil, nil, "holds"},
		{"deleted <> :a", truth(true), nil, "holds"},

		// types that differ are unequal, and have no order
		{"n < :a", str("2"), nil, "no"}, {"n <= :a", str("2"), nil, "no"}, {"n > :a", str(""), nil, "no"}, {"n >= :a", bytes(""), nil, "no"},
		{"s < :a", num("99"), nil, "no"}, {"s > :a", num("1"), nil, "no"}, {"s > :a", bytes("a"), nil, "no"}, {"b < :a", str("z"), nil, "no"},
		{"n = :a", str("10"), nil, "no"}, {"n <> :a", str("10"), nil, "holds"}, {"s = :a", bytes("abc"), nil, "no"}, {"bool = :a", str("true"), nil, "no"},
		{"s < n", nil, nil, "no"}, {"s > n", nil, nil, "no"}, {"bool <= nul", nil, nil, "no"}, {"NOT n < :a", str("2"), nil, "holds"},
		{"n BETWEEN :a AND :b", str("0"), str("z"), "no"}, {"s BETWEEN :a AND :b", num("0"), num("99"), "no"}, {"n BETWEEN s AND :a", num("99"), nil, "no"},
		{"n IN (:a, :b)", str("10"), bytes("10"), "no"}, {"n IN (:a, :b)", str("10"), num("1e1"), "holds"}, {"bool IN (:a)", truth(true), nil, "holds"},
		{"gone = :a", str(""), nil, "no"}, {"gone <> :a", str(""), nil, "holds"}, {"gone < :a", num("1"), nil, "no"}, {"gone IN (:a)", null, nil, "no"},

		// within a type
		{"s < :a", str("abd"), nil, "holds"}, {"s < :a", str("abc"), nil, "no"}, {"s <= :a", str("abc"), nil, "holds"}, {"s > :a", str("ab"), nil, "holds"},
		{"s >= :a", str("abcd"), nil, "no"}, {"b > :a", bytes("\x01\x00"), nil, "holds"}, {"n > :a", num("9"), nil, "holds"}, {"n > :a", num("-11"), nil, "holds"},
		{"e > :a", str("zzz"), nil, "holds"}, {"s BETWEEN :a AND :b", str("abc"), str("abd"), "holds"}, {":a BETWEEN s AND e", str("b"), nil, "holds"},
		{":a < n", num("9"), nil, "holds"}, {"l = :a", list(num("1.0"), str("a"), object(attributes{"k": str("v")}), list(num("7"))), nil, "holds"},
		{"l = :a", list(num("1"), str("a")), nil, "no"}, {"m = :a", object(attributes{"k": str("v")}), nil, "no"}, {"ns = :a", nums("2", "1.0"), nil, "holds"},
		{"ss = :a", strs("b", "a"), nil, "holds"}, {"ss = :a", strs("a"), nil, "no"}, {"nul = :a", null, nil, "holds"}, {"bool = :a", truth(false), nil, "no"},

		// sizes
		{"size(s) > :a", num("2"), nil, "holds"}, {"size(s) > :a", num("3"), nil, "no"}, {"size(e) = :a", num("3"), nil, "holds"}, {"size(b) = :a", num("2"), nil, "holds"},
		{"size(l) = :a", num("4"), nil, "holds"}, {"size(m) = :a", num("3"), nil, "holds"}, {"size(ss) = :a", num("2"), nil, "holds"}, {"size(bs) = :a", num("1"), nil, "holds"},
		{"size(n) > :a", num("-1"), nil, "no"}, {"size(bool) <> :a", num("1"), nil, "holds"}, {"size(gone) < :a", num("1"), nil, "no"}, {"NOT size(gone) < :a", num("1"), nil, "holds"},
		{"size(s) BETWEEN :a AND :b", num("3"), num("4"), "holds"}, {"size(s) = size(l)", nil, nil, "no"}, {"n IN (:a, size(s))", num("3"), nil, "no"}, {"size(:a) = :b", str("abc"), num("3"), "holds"},

		// functions
		{"attribute_type(big, :a) AND big = :b", str("N"), num(exact), "holds"}, {"attribute_type(big, :a) AND big = :b", str("N"), num("12345678901234567890123456789012345679"), "no"},
		{"attribute_type(big, :a)", str("S"), nil, "no"}, {"attribute_type(ns, :a)", str("NS"), nil, "holds"}, {"attribute_type(ns, :a)", str("SS"), nil, "no"}, {"attribute_type(gone, :a)", str("S"), nil, "no"},
		{"begins_with(s, :a)", str("ab"), nil, "holds"}, {"begins_with(s, :a)", str("b"), nil, "no"}, {"begins_with(b, :a)", bytes("\x01"), nil, "holds"}, {"begins_with(n, :a)", str("1"), nil, "no"},
		{"begins_with(gone, :a)", str(""), nil, "no"}, {"begins_with(s, n)", nil, nil, "no"}, {"contains(s, :a)", str("bc"), nil, "holds"}, {"contains(s, :a)", num("1"), nil, "no"},
		{"contains(l, :a)", num("1.0"), nil, "holds"}, {"contains(l, :a)", str("1"), nil, "no"}, {"contains(l, :a)", object(attributes{"k": str("v")}), nil, "holds"}, {"contains(ns, :a)", num("2.0"), nil, "holds"},
		{"contains(ns, :a)", str("2"), nil, "no"}, {"contains(ss, :a)", str("b"), nil, "holds"}, {"contains(ss, :a)", strs("b"), nil, "no"}, {"contains(b, :a)", bytes("\xFF"), nil, "holds"},
		{"contains(bs, :a)", bytes("x"), nil, "holds"}, {"contains(m, :a)", str("k"), nil, "no"}, {"contains(n, :a)", num("1"), nil, "no"}, {"attribute_exists(nul)", nil, nil, "holds"},

		// paths
		{"m.k = :a", str("v"), nil, "holds"}, {"l[2].k = :a", str("v"), nil, "holds"}, {"l[3][0] < :a", num("8"), nil, "holds"}, {"l [ 3 ] [ 0 ] < :a", num("8"), nil, "holds"},
		{"attribute_exists(l[4])", nil, nil, "no"}, {"attribute_exists(s.k)", nil, nil, "no"}, {"attribute_exists(l.k)", nil, nil, "no"}, {"attribute_exists(m[0])", nil, nil, "no"},
		{"attribute_exists(#dot)", nil, nil, "holds"}, {"attribute_exists(m.#dot)", nil, nil, "holds"}, {"attribute_exists(#status)", nil, nil, "holds"}, {"attribute_exists(gone.k)", nil, nil, "no"},

		// AND before OR, NOT before both
		{"s = :a OR n = :b AND n = s", str("abc"), num("1"), "holds"}, {"(s = :a OR n = :b) AND n = s", str("abc"), num("1"), "no"}, {"NOT s = :a OR n > :b", str("abc"), num("1"), "holds"},
		{"NOT (s = :a OR n > :b)", str("abc"), num("1"), "no"}, {"NOT NOT s = :a", str("abc"), nil, "holds"}, {"not s = :a and n between :b and :b", str("x"), num("10"), "holds"},

		// refused whatever the item is
		{"s = :a n = :b", str("abc"), num("1"), refused}, {"s", nil, nil, refused}, {"NOT bool", nil, nil, refused}, {"bool AND bool", nil, nil, refused}, {"", nil, nil, refused}, {" ", nil, nil, refused}, {"()", nil, nil, refused},
		{"s = :a AND", str("x"), nil, refused}, {"((s = :a))", str("x"), nil, refused}, {"(s = :a", str("x"), nil, refused}, {"s = :a)", str("x"), nil, refused}, {"s == :a", str("x"), nil, refused}, {"s = :a;", str("x"), nil, refused},
		{"n = 10", nil, nil, refused}, {"n = n + :a", num("0"), nil, refused}, {"s IN ()", nil, nil, refused}, {"s IN :a", str("x"), nil, refused}, {"s = s", nil, nil, refused}, {"s IN (:a, s)", str("x"), nil, refused}, {"contains(s, s)", nil, nil, refused},
		{"status = :a", str("x"), nil, refused}, {"m.status = :a", str("x"), nil, refused}, {"attribute_exists(Missing)", nil, nil, refused}, {"attribute_exists(_u)", nil, nil, refused}, {"attribute_exists(1u)", nil, nil, refused},
		{"attribute_exists(é)", nil, nil, refused}, {"attribute_exists(m.)", nil, nil, refused}, {"attribute_exists(m..k)", nil, nil, refused}, {"attribute_exists(l[01])", nil, nil, refused}, {"attribute_exists(l[-1])", nil, nil, refused},
		{"attribute_exists(l[99999999999999])", nil, nil, refused}, {"attribute_exists(l[n])", nil, nil, refused}, {"attribute_exists(#undefined)", nil, nil, refused}, {"s = :undefined", nil, nil, refused}, {"s = n", str("unused"), nil, refused},
		{"attribute_exists(:a)", str("x"), nil, refused}, {"attribute_exists(size(s))", nil, nil, refused}, {"attribute_exists(s, n)", nil, nil, refused}, {"attribute_exists()", nil, nil, refused}, {"contains(s)", nil, nil, refused},
		{"size(s)", nil, nil, refused}, {"size(:a) = :a", num("1"), nil, refused}, {"Size(s) = :a", num("3"), nil, refused}, {"nothing(s)", nil, nil, refused}, {"if_not_exists(s, n) = n", nil, nil, refused},
		{"attribute_type(s, :a)", str("X"), nil, refused}, {"attribute_type(s, :a)", num("1"), nil, refused}, {"begins_with(s, :a)", num("1"), nil, refused}, {"n < :a", truth(true), nil, refused}, {"n >= :a", list(), nil, refused},
		{"n BETWEEN :a AND :b", num("2"), num("1"), refused}, {"n BETWEEN :a AND :b", num("1"), str("2"), refused}, {"n BETWEEN :a AND :a", nums("1"), nil, refused}, {"PK.x = :a", str("x"), nil, refused}, {"user_id[0] = :a", str("x"), nil, refused},
		{"s IN (" + strings.Repeat(":a, ", 100) + ":a)", str("x"), nil, refused}, {"s = :a" + strings.Repeat(" ", 4096), str("x"), nil, refused},

		// on AWS these hold
		{"(s) = :a", str("abc"), nil, refused}, {"s = (:a)", str("abc"), nil, refused},
	}
	s := open(t, dynamo.Options{})
	s.mustPut(all())
	for _, test := range tests {
		var values attributes // nil where there are none: an empty map is refused
		if test.a != nil {
			values = attributes{":a": test.a}
		}
		if test.b != nil {
			values[":b"] = test.b
		}
		names := named(test.expression)
		outcome := func(holds bool, err error) string {
			_, fails := errors.AsType[*types.ConditionalCheckFailedException](err)
			switch {
			case code(err) == "ValidationException":
				return refused
			case err != nil && !fails:
				return err.Error()
			case holds && !fails:
				return "holds"
			}
			return "no"
		}
		_, err := s.PutItem(t.Context(), &dynamodb.PutItemInput{
			TableName: aws.String(table), Item: all(), ConditionExpression: &test.expression, ExpressionAttributeNames: names, ExpressionAttributeValues: values,
		})
		if got := outcome(true, err); got != test.want {
			t.Errorf("condition %q with %s: %s (%v), want %s", test.expression, shown(values), got, err, test.want)
		}
		partition := attributes{":pk": str("t")}
		maps.Copy(partition, values)
		in := &dynamodb.QueryInput{
			TableName: aws.String(table), KeyConditionExpression: aws.String("PK = :pk"), FilterExpression: &test.expression,
			ExpressionAttributeNames: names, ExpressionAttributeValues: partition,
		}
		out, err := s.Query(t.Context(), in)
		if got := outcome(err == nil && out.Count == 1, err); got != test.want {
			t.Errorf("filter %q with %s: %s (%v), want %s", test.expression, shown(values), got, err, test.want)
		}
		partition[":pk"] = str("empty")
		_, err = s.Query(t.Context(), in)
		if (outcome(false, err) == refused) != (test.want == refused) {
			t.Errorf("filter %q of an empty partition: %v, want %s", test.expression, err, test.want)
		}
	}
}

// shown is a value or an item as text.
func shown(v any) string {
	switch v := v.(type) {
	case attributes:
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, name+":"+shown(v[name]))
		}
		return "{" + strings.Join(parts, " ") + "}"
	case *types.AttributeValueMemberM:
		return shown(v.Value)
	case *types.AttributeValueMemberL:
		var parts []string
		for _, e := range v.Value {
			parts = append(parts, shown(e))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return v.Value
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func TestProjections(t *testing.T) {
	tests := []struct{ expression, want string }{
		{"s", "{s:abc}"}, {" s , n ", "{n:10 s:abc}"}, {"big", "{big:" + exact + "}"}, {"gone", "{}"}, {"#dot", "{a.b:dot}"}, {"#status", "{status:x}"},
		{"m.k", "{m:{k:v}}"}, {"m.k, m.n", "{m:{k:v n:1}}"}, {"m.#dot", "{m:{a.b:q}}"}, {"m.gone", "{}"}, {"s.k", "{}"}, {"m[0]", "{}"}, {"l.k", "{}"},
		{"l[0]", "{l:[1]}"}, {"l[2], l[0]", "{l:[1 {k:v}]}"}, {"l[9]", "{}"}, {"l[3][0], l[1]", "{l:[a [7]]}"}, {"l[2].k, m.k, l[0]", "{l:[1 {k:v}] m:{k:v}}"}, {"l[3][5], l[0]", "{l:[1]}"},
		{"", refused}, {" ", refused}, {"s n", refused}, {"s,", refused}, {",s", refused}, {"status", refused}, {"m.status", refused}, {"size(s)", refused}, {"(s)", refused}, {":v", refused}, {"#undefined", refused},
		{"s, s", refused}, {"m, m.k", refused}, {"m.k, m", refused}, {"l[0], l[0]", refused}, {"l[0].k, l[0]", refused}, {"m.k, m[0]", refused}, {"#status, s, #again", refused},
	}
	s := open(t, dynamo.Options{})
	s.mustPut(all())
	for _, test := range tests {
		names := named(test.expression)
		got := func(item attributes, err error) string {
			if code(err) == "ValidationException" {
				return refused
			}
			if err != nil {
				return err.Error()
			}
			return shown(item)
		}
		get := func(pk string) string {
			out, err := s.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String(table), Key: keyed(pk, "o"), ProjectionExpression: &test.expression, ExpressionAttributeNames: names})
			if err != nil {
				return got(nil, err)
			}
			return got(out.Item, nil)
		}
		query := func(pk string) string {
			out, err := s.Query(t.Context(), &dynamodb.QueryInput{
				TableName: aws.String(table), KeyConditionExpression: aws.String("PK = :pk"), ExpressionAttributeValues: attributes{":pk": str(pk)},
				ProjectionExpression: &test.expression, ExpressionAttributeNames: names,
			})
			if err != nil || len(out.Items) == 0 {
				return got(nil, err)
			}
			return got(out.Items[0], nil)
		}
		for call, read := range map[string]func(string) string{"get": get, "query": query} {
			if got := read("t"); got != test.want {
				t.Errorf("%s %q: %s, want %s", call, test.expression, got, test.want)
			}
			if got := read("nobody"); (got == refused) != (test.want == refused) {
				t.Errorf("%s %q where nothing is: %s, want %s", call, test.expression, got, test.want)
			}
		}
	}
}

func TestRefusedReads(t *testing.T) {
	s := open(t, dynamo.Options{})
	s.addIndex("by_email", "email", types.Projection{ProjectionType: "INCLUDE", NonKeyAttributes: []string{"a"}})
	tests := map[string]struct {
		index, filter, projection, choose string
		ok                                bool
	}{
		"filter":                             {filter: "a = :p", ok: true},
		"filter on the partition key":        {filter: "PK = :p"},
		"filter on the sort key":             {filter: "NOT begins_with(SK, :p)"},
		"filter on no key of this one":       {filter: "user_id = :p", ok: true},
		"filter on a key of the index":       {index: byUser, filter: "a = :p OR user_id = :p"},
		"filter on the table's key":          {index: "by_email", filter: "SK = :p", ok: true},
		"filter that the index has":          {index: "by_email", filter: "a = :p", ok: true},
		"filter that the index has not":      {index: "by_email", filter: "b = :p"},
		"projection that the index has":      {index: "by_email", projection: "PK, email, a", ok: true},
		"projection that the index has not":  {index: "by_email", projection: "a, b"},
		"all attributes":                     {choose: "ALL_ATTRIBUTES", ok: true},
		"all of an index with all":           {index: byUser, choose: "ALL_ATTRIBUTES", ok: true},
		"all of an index with some":          {index: "by_email", choose: "ALL_ATTRIBUTES"},
		"all attributes and a projection":    {choose: "ALL_ATTRIBUTES", projection: "a"},
		"projected attributes":               {index: "by_email", choose: "ALL_PROJECTED_ATTRIBUTES", ok: true},
		"projected attributes of no index":   {choose: "ALL_PROJECTED_ATTRIBUTES"},
		"projected attributes, a projection": {index: "by_email", choose: "ALL_PROJECTED_ATTRIBUTES", projection: "a"},
		"specific attributes":                {choose: "SPECIFIC_ATTRIBUTES", projection: "a", ok: true},
		"specific attributes, but which":     {choose: "SPECIFIC_ATTRIBUTES"},
		"count":                              {choose: "COUNT", ok: true},
		"count and a projection":             {choose: "COUNT", projection: "a"},
		"count in small letters":             {choose: "count"},
		"another choice":                     {choose: "NONE"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := &dynamodb.QueryInput{
				TableName: aws.String(table), KeyConditionExpression: aws.String("PK = :p"), Select: types.Select(test.choose),
				ExpressionAttributeValues: attributes{":p": str("p")},
			}
			for to, from := range map[**string]*string{&in.IndexName: &test.index, &in.FilterExpression: &test.filter, &in.ProjectionExpression: &test.projection} {
				if *from != "" {
					*to = from
				}
			}
			if test.index == "by_email" {
				in.KeyConditionExpression = aws.String("email = :p")
			}
			if _, err := s.Query(t.Context(), in); test.ok && err != nil || !test.ok && code(err) != "ValidationException" {
				t.Errorf("query: %v, want accepted: %v", err, test.ok)
			}
		})
	}
	t.Run("scans filter keys", func(t *testing.T) {
		s.mustPut(keyed("p", "o"), keyed("q", "o"))
		out, err := s.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String(table), FilterExpression: aws.String("PK = :p"), ExpressionAttributeValues: attributes{":p": str("p")}})
		if err != nil || out.Count != 1 || out.ScannedCount != 2 {
			t.Errorf("scan: %+v, %v, want one of two", out, err)
		}
	})
	t.Run("attributes to get", func(t *testing.T) {
		_, err := s.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String(table), Key: keyed("p", "o"), AttributesToGet: []string{"PK"}})
		if code(err) != "ValidationException" {
			t.Errorf("get: %v", err)
		}
	})
}
