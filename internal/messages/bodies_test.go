package messages

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"tributary/internal/schema"
)

// types are those that the published documents are of, and the types of this file's commands.
var (
	types     = schema.Builtin()
	userType  = types.Type("user")
	orderType = types.Type("order")
)

// docs is where the published schema and AsyncAPI document are.
const docs = "../../docs/messages"

const (
	user   = `{"type":"put_user","tenant_id":"tenantA","user_id":"u1","user_name":"Alice","user_email":"alice@example.com"}`
	order  = `{"type":"put_order","tenant_id":"tenantA","order_id":"o1","user_id":"u1","order_amount":"150.00"}`
	noUser = `{"type":"delete_user","tenant_id":"tenantA","user_id":"u1"}`
	noOrd  = `{"type":"delete_order","tenant_id":"tenantA","order_id":"o1"}`
)

// with returns a command's text with a member more.
func with(command, member string) string {
	return strings.TrimSuffix(command, "}") + "," + member + "}"
}

// but returns a command's text with a part replaced.
func but(command, old, new string) string {
	if !strings.Contains(command, old) {
		panic(old + " is not in " + command)
	}
	return strings.Replace(command, old, new, 1)
}

// zeros is an array of so many zeros.
func zeros(n int) string { return "[" + strings.Repeat("0,", n-1) + "0]" }

func amount(value string) string { return but(order, `"150.00"`, value) }

func nested(levels int, inner string) string {
	return with(order, `"attributes":`+strings.Repeat(`{"a":`, levels)+inner+strings.Repeat("}", levels))
}

// body is a message's body and what is to be said of it.
type body struct {
	name, text string
	// Of the first bad command, or of the body; a valid body has none.
	reason Reason
	field  string
	// beyondSchema says why the published schema takes the body for the opposite. Empty: it agrees with the code.
	beyondSchema string
}

const (
	inBytes    = "limits in bytes"
	digits     = "significant digits"
	numbers    = "numbers in strings"
	tiny       = "the smallest number"
	nesting    = "depth of nesting"
	twice      = "fields given twice"
	itemSize   = "size of the item"
	notUnicode = "half a surrogate pair"
	wrapped    = "wrappings"
	counts     = "the number of all values"
	mark       = "a byte order mark"
)

var bodies = []body{
	{name: "put_user", text: user},
	{name: "put_order", text: order},
	{name: "delete_user", text: noUser},
	{name: "delete_order", text: noOrd},
	{name: "white space", text: "\r\n\t " + strings.ReplaceAll(order, ",", " , ") + " \n"},
	{name: "fields in another order", text: `{"order_amount":1,"user_id":"u1","order_id":"o1","tenant_id":"tenantA","type":"put_order"}`},
	{name: "escaped names and values", text: strings.NewReplacer("type", `\u0074ype`, "tenantA", `tenant\u0041`).Replace(order)},
	{name: "array", text: "[" + user + "," + order + "," + noUser + "]"},
	{name: "two commands for one key", text: "[" + order + "," + noOrd + "]"},
	{name: "packed", text: `{"commands":[` + user + "," + order + "]}"},
	{name: "packed with white space", text: ` { "commands" : [ ` + order + " ] } "},

	{name: "version", text: with(order, `"version":7`)},
	{name: "version 1", text: with(noOrd, `"version":1`)},
	{name: "version 2^63-1", text: with(noUser, `"version":9223372036854775807`)},
	{name: "version in another form", text: with(order, `"version":7.0e2`)},
	{name: "version 2^63", text: with(order, `"version":9223372036854775808`), reason: ReasonInvalidField, field: "version"},
	{name: "version 0", text: with(order, `"version":0`), reason: ReasonInvalidField, field: "version"},
	{name: "version negative", text: with(order, `"version":-1`), reason: ReasonInvalidField, field: "version"},
	{name: "version with a fraction", text: with(order, `"version":1.5`), reason: ReasonInvalidField, field: "version"},
	{name: "version in a string", text: with(order, `"version":"7"`)},
	{name: "version in a string, with zeros before it", text: with(order, `"version":"0009223372036854775807"`)},
	{name: "version 2^63 in a string", text: with(order, `"version":"9223372036854775808"`), reason: ReasonInvalidField, field: "version", beyondSchema: numbers},
	{name: "version 0 in a string", text: with(order, `"version":"0"`), reason: ReasonInvalidField, field: "version"},
	{name: "version with a point in a string", text: with(order, `"version":"7.0"`), reason: ReasonInvalidField, field: "version"},
	{name: "version with a sign in a string", text: with(order, `"version":"+7"`), reason: ReasonInvalidField, field: "version"},
	{name: "version in an empty string", text: with(order, `"version":""`), reason: ReasonInvalidField, field: "version"},
	{name: "version null", text: with(order, `"version":null`)},
	{name: "version null and again", text: with(order, `"version":null,"version":7`), reason: ReasonDuplicateField, field: "version", beyondSchema: twice},
	{name: "version true", text: with(order, `"version":true`), reason: ReasonInvalidField, field: "version"},
	{name: "version nul", text: with(order, `"version":nul`), reason: ReasonMalformed},
	{name: "version huge", text: with(order, `"version":1e400`), reason: ReasonInvalidField, field: "version"},

	{name: "amount is a number", text: amount(`150.00`)},
	{name: "amount is negative", text: amount(`"-0.01"`)},
	{name: "amount is zero", text: amount(`0`)},
	{name: "amount with an exponent", text: amount(`"1.5e+2"`)},
	{name: "amount with leading zeros", text: amount(`"000150.00"`)},
	{name: "amount of 38 digits", text: amount(`"12345678901234567890123456789012345678"`)},
	{name: "amount of 38 digits, a number", text: amount(`-1234567890.1234567890123456789012345678`)},
	{name: "amount of 38 digits and many zeros", text: amount(`"0012345678901234567890123456789012345678000.000"`)},
	{name: "amount of 39 digits", text: amount(`"123456789012345678901234567890123456789"`), reason: ReasonInvalidField, field: "order_amount", beyondSchema: digits},
	{name: "amount of 39 digits, a number", text: amount(`1234567890123456789012345678901234567.89`), reason: ReasonInvalidField, field: "order_amount", beyondSchema: digits},
	{name: "amount at the upper end", text: amount(`9.9999999999999999999999999999999999999E125`)},
	{name: "amount at the lower end", text: amount(`-9.9999999999999999999999999999999999999E+125`)},
	{name: "amount 1E126", text: amount(`1E126`), reason: ReasonInvalidField, field: "order_amount"},
	{name: "amount -1E126", text: amount(`-1E126`), reason: ReasonInvalidField, field: "order_amount"},
	{name: "amount 1E126 in a string", text: amount(`"1E126"`), reason: ReasonInvalidField, field: "order_amount", beyondSchema: numbers},
	{name: "amount with an endless exponent", text: amount(`"1e99999999999999999999"`), reason: ReasonInvalidField, field: "order_amount", beyondSchema: numbers},
	{name: "amount at the small end", text: amount(`1E-130`)},
	{name: "amount too small", text: amount(`9.9E-131`), reason: ReasonInvalidField, field: "order_amount", beyondSchema: tiny},
	{name: "amount NaN", text: amount(`"NaN"`), reason: ReasonInvalidField, field: "order_amount"},
	{name: "amount Infinity", text: amount(`"Infinity"`), reason: ReasonInvalidField, field: "order_amount"},
	{name: "amount empty", text: amount(`""`), reason: ReasonInvalidField, field: "order_amount"},
	{name: "amount null", text: amount(`null`), reason: ReasonInvalidField, field: "order_amount"},
	{name: "amount true", text: amount(`true`), reason: ReasonInvalidField, field: "order_amount"},
	{name: "amount hexadecimal", text: amount(`"0x10"`), reason: ReasonInvalidField, field: "order_amount"},
	{name: "amount with a comma", text: amount(`"1,5"`), reason: ReasonInvalidField, field: "order_amount"},
	{name: "amount with a space", text: amount(`" 1"`), reason: ReasonInvalidField, field: "order_amount"},
	{name: "amount with a plus", text: amount(`"+1"`), reason: ReasonInvalidField, field: "order_amount"},
	{name: "amount with a bare point", text: amount(`".5"`), reason: ReasonInvalidField, field: "order_amount"},
	{name: "amount with two points", text: amount(`"1.2.3"`), reason: ReasonInvalidField, field: "order_amount"},
	{name: "amount with a bare exponent", text: amount(`"1e"`), reason: ReasonInvalidField, field: "order_amount"},

	{name: "tenant of 128", text: but(order, "tenantA", strings.Repeat("t", 128))},
	{name: "tenant of 129", text: but(order, "tenantA", strings.Repeat("t", 129)), reason: ReasonTooLarge, field: "tenant_id"},
	{name: "tenant of all characters", text: but(order, "tenantA", "A-Za.z0_9:@=+-")},
	{name: "tenant empty", text: but(order, "tenantA", ""), reason: ReasonInvalidField, field: "tenant_id"},
	{name: "tenant .", text: but(order, "tenantA", "."), reason: ReasonInvalidField, field: "tenant_id"},
	{name: "tenant ..", text: but(order, "tenantA", ".."), reason: ReasonInvalidField, field: "tenant_id"},
	{name: "tenant ...", text: but(order, "tenantA", "...")},
	{name: "tenant with _ first", text: but(order, "tenantA", "_other"), reason: ReasonInvalidField, field: "tenant_id"},
	{name: "tenant with #", text: but(order, "tenantA", "a#b"), reason: ReasonInvalidField, field: "tenant_id"},
	{name: "tenant with /", text: but(order, "tenantA", "a/b"), reason: ReasonInvalidField, field: "tenant_id"},
	{name: "tenant with ü", text: but(order, "tenantA", "ü"), reason: ReasonInvalidField, field: "tenant_id"},
	{name: "tenant with a newline at its end", text: but(order, "tenantA", `a\n`), reason: ReasonInvalidField, field: "tenant_id"},
	{name: "tenant is a number", text: but(order, `"tenantA"`, "5"), reason: ReasonInvalidField, field: "tenant_id"},

	{name: "id of 256 bytes", text: but(order, "o1", strings.Repeat("o", 256))},
	{name: "id of 257 bytes", text: but(order, "o1", strings.Repeat("o", 257)), reason: ReasonTooLarge, field: "order_id"},
	{name: "id of 256 bytes in 128 characters", text: but(order, "o1", strings.Repeat("ö", 128))},
	{name: "id of 258 bytes in 129 characters", text: but(order, "o1", strings.Repeat("ö", 129)), reason: ReasonTooLarge, field: "order_id", beyondSchema: inBytes},
	{name: "id empty", text: but(user, "u1", ""), reason: ReasonInvalidField, field: "user_id"},
	{name: "id with #", text: but(order, `"o1"`, `"a#b"`), reason: ReasonInvalidField, field: "order_id"},
	{name: "id with an escaped #", text: but(order, `"o1"`, `"a\u0023b"`), reason: ReasonInvalidField, field: "order_id"},
	{name: "id with a zero byte", text: but(order, `"o1"`, `"a\u0000"`), reason: ReasonInvalidField, field: "order_id"},
	{name: "id with DEL", text: but(order, `"o1"`, `"a\u007f"`), reason: ReasonInvalidField, field: "order_id"},
	{name: "id with a control character of C1", text: but(order, `"o1"`, `"a\u0085"`), reason: ReasonInvalidField, field: "order_id"},
	{name: "id with spaces, quotes and an emoji", text: but(order, `"o1"`, `" a\"b\\ 😀\ud83d\ude00 "`)},
	{name: "id is null", text: but(noUser, `"u1"`, "null"), reason: ReasonInvalidField, field: "user_id"},
	{name: "id is an object", text: but(noUser, `"u1"`, `{"S":"u1"}`), reason: ReasonInvalidField, field: "user_id"},
	{name: "order's user id with #", text: but(order, `"u1"`, `"u#1"`), reason: ReasonInvalidField, field: "user_id"},
	{name: "id with half a surrogate pair", text: but(order, `"o1"`, `"a\ud800"`), reason: ReasonInvalidField, field: "order_id", beyondSchema: notUnicode},
	{name: "name with half a surrogate pair", text: but(user, "Alice", `\udc00`), reason: ReasonInvalidField, field: "user_name", beyondSchema: notUnicode},

	{name: "name and email empty", text: but(but(user, "Alice", ""), "alice@example.com", "")},
	{name: "name with control characters", text: but(user, "Alice", `\u0000\n\u007f`)},
	{name: "name null", text: but(user, `"Alice"`, "null"), reason: ReasonInvalidField, field: "user_name"},
	{name: "email is a list", text: but(user, `"alice@example.com"`, "[]"), reason: ReasonInvalidField, field: "user_email"},

	{name: "attributes empty", text: with(user, `"attributes":{}`)},
	{name: "attributes of all kinds", text: with(order, `"version":1,"attributes":{"s":"x","n":-1.50e3,"b":[true,false],"0":null,"l":[],"m":{"":""}}`), reason: ReasonInvalidField, field: "attributes"},
	{name: "attributes of all kinds, all with names", text: with(order, `"version":1,"attributes":{"s":"","n":-1.50e3,"b":[true,false],"0":null,"l":[[1],{}],"m":{"x":{"y":"z"}}}`)},
	{name: "attributes with an empty name", text: with(user, `"attributes":{"":1}`), reason: ReasonInvalidField, field: "attributes"},
	{name: "attributes null", text: with(user, `"attributes":null`)},
	{name: "attributes null on a delete", text: with(noUser, `"attributes":null`), reason: ReasonUnknownField, field: "attributes"},
	{name: "attributes of as many values as may be", text: with(user, `"attributes":{"a":`+zeros(schema.MaxDocumentValues-1)+`}`)},
	{name: "attributes of a value more", text: with(user, `"attributes":{"a":`+zeros(schema.MaxDocumentValues)+`}`), reason: ReasonTooLarge, field: "attributes", beyondSchema: counts},
	{name: "attributes of a value more, in one list", text: with(user, `"attributes":{"a":`+zeros(schema.MaxDocumentValues+1)+`}`), reason: ReasonTooLarge, field: "attributes"},
	{name: "attributes of many values in members", text: with(user, `"attributes":{"a":{"b":{}},"c":`+strings.Replace(zeros(schema.MaxDocumentValues-2), "0", `{"a":0}`, 1)+`}`), reason: ReasonTooLarge, field: "attributes", beyondSchema: counts},
	{name: "attributes are a list", text: with(user, `"attributes":[1]`), reason: ReasonInvalidField, field: "attributes"},
	{name: "attributes in a string", text: with(user, `"attributes":"{}"`), reason: ReasonInvalidField, field: "attributes"},
	{name: "attributes with a number out of range", text: with(user, `"attributes":{"a":[1e126]}`), reason: ReasonInvalidField, field: "attributes"},
	{name: "attributes with 39 digits", text: with(user, `"attributes":{"a":0.123456789012345678901234567890123456789}`), reason: ReasonInvalidField, field: "attributes", beyondSchema: digits},
	{name: "attributes with 38 digits", text: with(user, `"attributes":{"a":0.12345678901234567890123456789012345678}`)},
	{name: "attributes of 31 levels", text: nested(31, "1")},
	{name: "attributes of 32 levels", text: nested(32, "1"), reason: ReasonTooLarge, field: "attributes", beyondSchema: nesting},
	{name: "attributes of 32 levels, lists", text: nested(1, strings.Repeat("[", 31)+strings.Repeat("]", 31)), reason: ReasonTooLarge, field: "attributes", beyondSchema: nesting},
	{name: "attributes of 3000 levels", text: nested(3000, "1"), reason: ReasonTooLarge, field: "attributes", beyondSchema: nesting},
	{name: "attributes with a name given twice", text: with(user, `"attributes":{"m":{"a":1,"\u0061":2}}`), reason: ReasonDuplicateField, field: "attributes", beyondSchema: twice},
	{name: "attributes with half a surrogate pair", text: with(user, `"attributes":{"a":["\ud83d"]}`), reason: ReasonInvalidField, field: "attributes", beyondSchema: notUnicode},
	{name: "attributes on a delete", text: with(noUser, `"attributes":{}`), reason: ReasonUnknownField, field: "attributes"},
	{name: "attributes with a name of 64 KiB", text: with(user, `"attributes":{"`+strings.Repeat("n", 64<<10)+`":1}`), reason: ReasonTooLarge, field: "attributes", beyondSchema: inBytes},

	{name: "unknown type", text: but(order, "put_order", "put_invoice"), reason: ReasonUnknownType, field: "type"},
	{name: "type of another case", text: but(order, "put_order", "Put_Order"), reason: ReasonUnknownType, field: "type"},
	{name: "type empty", text: but(order, "put_order", ""), reason: ReasonUnknownType, field: "type"},
	{name: "type null", text: but(order, `"put_order"`, "null"), reason: ReasonInvalidField, field: "type"},
	{name: "type missing", text: but(order, `"type":"put_order",`, ""), reason: ReasonMissingField, field: "type"},
	{name: "empty object", text: "{}", reason: ReasonMissingField, field: "type"},
	{name: "unknown field", text: with(order, `"colour":"red"`), reason: ReasonUnknownField, field: "colour"},
	{name: "unknown field in another case", text: with(order, `"Version":1`), reason: ReasonUnknownField, field: "Version"},
	{name: "unknown field with control characters", text: with(order, `"a\u0000\n":"red"`), reason: ReasonUnknownField, field: `a\x00\n`},
	{name: "field of another type", text: with(user, `"order_id":"o1"`), reason: ReasonUnknownField, field: "order_id"},
	{name: "field of a put on a delete", text: with(noOrd, `"user_id":"u1"`), reason: ReasonUnknownField, field: "user_id"},
	{name: "field given twice", text: with(order, `"order_id":"o2"`), reason: ReasonDuplicateField, field: "order_id", beyondSchema: twice},
	{name: "field given twice, once escaped", text: with(order, `"order\u005fid":"o1"`), reason: ReasonDuplicateField, field: "order_id", beyondSchema: twice},
	{name: "tenant missing", text: but(order, `"tenant_id":"tenantA",`, ""), reason: ReasonMissingField, field: "tenant_id"},
	{name: "order id missing", text: but(order, `"order_id":"o1",`, ""), reason: ReasonMissingField, field: "order_id"},
	{name: "order's user id missing", text: but(order, `"user_id":"u1",`, ""), reason: ReasonMissingField, field: "user_id"},
	{name: "amount missing", text: but(order, `,"order_amount":"150.00"`, ""), reason: ReasonMissingField, field: "order_amount"},
	{name: "user id missing", text: but(user, `"user_id":"u1",`, ""), reason: ReasonMissingField, field: "user_id"},
	{name: "name missing", text: but(user, `"user_name":"Alice",`, ""), reason: ReasonMissingField, field: "user_name"},
	{name: "email missing", text: but(user, `,"user_email":"alice@example.com"`, ""), reason: ReasonMissingField, field: "user_email"},
	{name: "id of a delete missing", text: but(noUser, `,"user_id":"u1"`, ""), reason: ReasonMissingField, field: "user_id"},

	{name: "item of 400 KB and a byte", text: but(user, "Alice", strings.Repeat("x", 400<<10)), reason: ReasonTooLarge, beyondSchema: itemSize},
	{name: "attributes over 400 KB", text: with(user, `"attributes":{"a":"`+strings.Repeat("x", 400<<10)+`"}`), reason: ReasonTooLarge, beyondSchema: itemSize},

	{name: "array with one bad command", text: "[" + user + "," + but(order, `"o1"`, `""`) + "," + noUser + "]", reason: ReasonInvalidField, field: "order_id"},
	{name: "array with something else", text: "[" + user + ",5]", reason: ReasonMalformed},
	{name: "packed after another field, a command more", text: `{"x":1,"commands":` + zeros(MaxCommands+1) + "}", reason: ReasonTooLarge},
	{name: "zeros, one more than may be", text: zeros(MaxCommands + 1), reason: ReasonTooLarge},
	{name: "more than may be of elements with more in them", text: "[" + strings.TrimSuffix(strings.Repeat(cloudEvent(`"data":`+zeros(200))+",", 101), ",") + "]", reason: ReasonTooLarge},
	{name: "array in an array", text: "[[" + user + "]]", reason: ReasonMalformed},
	{name: "array with packed commands", text: `[{"commands":[` + user + `]}]`, reason: ReasonMissingField, field: "type"},
	{name: "empty array", text: "[]", reason: ReasonEmpty},
	{name: "packed without commands", text: `{"commands":[]}`, reason: ReasonEmpty},
	{name: "packed with another field", text: `{"commands":[` + user + `],"version":1}`, reason: ReasonUnknownField, field: "version"},
	{name: "packed after another field", text: `{"version":1,"commands":[` + user + `]}`, reason: ReasonUnknownField, field: "version"},
	{name: "packed twice", text: `{"commands":[` + user + `],"commands":[` + user + `]}`, reason: ReasonDuplicateField, field: "commands", beyondSchema: twice},
	{name: "packed with no array", text: `{"commands":` + user + `}`, reason: ReasonMissingField, field: "type"},
	{name: "command with commands", text: with(user, `"commands":[`+user+`]`), reason: ReasonUnknownField, field: "commands"},
	{name: "commands before a command", text: `{"commands":[` + noUser + `],` + user[1:], reason: ReasonUnknownField, field: "commands"},

	{name: "null", text: "null", reason: ReasonMalformed},
	{name: "a string", text: `"x"`, reason: ReasonMalformed},
	{name: "a number", text: `5`, reason: ReasonMalformed},
	{name: "nothing", text: "", reason: ReasonMalformed},
	{name: "white space alone", text: " \n", reason: ReasonMalformed},
	{name: "byte order mark", text: byteOrderMark + order, beyondSchema: mark},
	{name: "byte order mark twice", text: byteOrderMark + byteOrderMark + order, reason: ReasonMalformed},
	{name: "base64", text: base64.StdEncoding.EncodeToString([]byte(order)), reason: ReasonMalformed},
	{name: "not JSON", text: "put_order", reason: ReasonMalformed},
	{name: "cut short", text: order[:len(order)-1], reason: ReasonMalformed},
	{name: "more behind it", text: order + order, reason: ReasonMalformed},
	{name: "array with more behind it", text: "[" + order + "]]", reason: ReasonMalformed},
	{name: "array cut short", text: "[" + order + ",", reason: ReasonMalformed},
	{name: "array with a comma too many", text: "[" + order + ",]", reason: ReasonMalformed},
	{name: "packed cut short", text: `{"commands":[` + user + `]`, reason: ReasonMalformed},
	{name: "malformed number", text: amount("01"), reason: ReasonMalformed},
	{name: "amount is a bare NaN", text: amount("NaN"), reason: ReasonMalformed},
	{name: "malformed escape", text: but(order, "o1", `\x41`), reason: ReasonMalformed},
	{name: "bare newline in a string", text: but(order, "o1", "o\n1"), reason: ReasonMalformed},
	{name: "comment", text: order + " // x", reason: ReasonMalformed},
	{name: "single quotes", text: strings.ReplaceAll(order, `"`, "'"), reason: ReasonMalformed},

	{name: "SNS notification", text: sns(order, ""), beyondSchema: wrapped},
	{name: "EventBridge event", text: eventBridge(order), beyondSchema: wrapped},
	{name: "CloudEvents envelope", text: cloudEvent(`"data":` + order), beyondSchema: wrapped},
	{name: "a wrapped command in an array", text: "[" + user + "," + cloudEvent(`"data":`+order) + "]", beyondSchema: wrapped},
	{name: "s3:TestEvent", text: s3TestEvent, reason: ReasonNotACommand},
	{name: "S3 notification", text: s3Notification, reason: ReasonNotACommand},
	{name: "pointer of the SQS Extended Client", text: s3Pointer, reason: ReasonNotACommand},
	{name: "SNS's confirmation", text: snsConfirmation, reason: ReasonNotACommand},
	{name: "bad command in an SNS notification", text: sns(but(order, "o1", ""), ""), reason: ReasonInvalidField, field: "order_id"},
}

func sns(message, attributes string) string {
	quoted, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{
  "Type" : "Notification",
  "MessageId" : "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
  "TopicArn" : "arn:aws:sns:eu-central-1:123456789012:orders",
  "Message" : %s,
  "Timestamp" : "2026-11-24T11:00:00.000Z",
  "SignatureVersion" : "1",
  "Signature" : "c2lnbmF0dXJl",
  "SigningCertURL" : "https://sns.eu-central-1.amazonaws.com/cert.pem",
  "UnsubscribeURL" : "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe"%s
}`, quoted, attributes)
}

func eventBridge(detail string) string {
	return `{"version":"0","id":"6a7e8feb-b491-4cf7-a9f1-bf3703467718","detail-type":"order placed","source":"shop.orders",` +
		`"account":"123456789012","time":"2026-11-24T11:00:00Z","region":"eu-central-1","resources":[],"detail":` + detail + `}`
}

// pipesRecord is what EventBridge Pipes sends of a message of a queue, without a template.
func pipesRecord(body, attributes string) string {
	quoted, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"messageId":"059f36b4-87a3-44ab-83d2-661975830a7d","receiptHandle":"AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...","body":%s,`+
		`"attributes":{"ApproximateReceiveCount":"1","SenderId":"AIDAIENQZJOLO23YVJ4VO"},"messageAttributes":{%s},`+
		`"md5OfBody":"e4e68fb7bd0e697a0ae8f1bb342846b3","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:us-east-2:123456789012:q","awsRegion":"us-east-2"}`, quoted, attributes)
}

// What others than producers put on queues.
const (
	s3TestEvent     = `{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026-11-24T11:00:00.000Z","Bucket":"b","RequestId":"5582815E1AEA5ADF","HostId":"8cLeGAmw098X"}`
	s3Notification  = `{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"us-west-2","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"k"}}}]}`
	s3Pointer       = `["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"bucket-1","s3Key":"key-1"}]`
	snsConfirmation = `{"Type":"SubscriptionConfirmation","MessageId":"165545c9","Token":"2336412f37","TopicArn":"arn:aws:sns:us-west-2:123456789012:MyTopic",` +
		`"Message":"You have chosen to subscribe.","SubscribeURL":"https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37","Timestamp":"2026-11-24T11:00:00.000Z"}`
)

func cloudEvent(data string) string {
	return `{"specversion":"1.0","type":"com.example.order.placed","source":"/shop","id":"A234-1234","datacontenttype":"application/json",` + data + `}`
}

// firstError returns the error of a body, or of its first bad command.
func firstError(decoded []Decoded, err *Error) *Error {
	for i := range decoded {
		if err == nil {
			err = decoded[i].Err
		}
	}
	return err
}

func TestBodies(t *testing.T) {
	published := compileSchema(t)
	beyond := map[string]bool{}
	for _, b := range bodies {
		t.Run(b.name, func(t *testing.T) {
			decoded, err := Decode(types, nil, b.text, nil)
			if err != nil && len(decoded) != 0 {
				t.Errorf("a body that is bad as a whole left %d commands", len(decoded))
			}
			got := firstError(decoded, err)
			switch {
			case b.reason == "" && got != nil:
				t.Errorf("it is refused: %v", got)
			case b.reason != "" && got == nil:
				t.Errorf("it is accepted, wanted %s of %q", b.reason, b.field)
			case got != nil && (got.Reason != b.reason || got.Field != b.field):
				t.Errorf("it is refused for %s of %q (%v), wanted %s of %q", got.Reason, got.Field, got, b.reason, b.field)
			}
			if got != nil {
				checkDetail(t, got)
			}

			value, jsonErr := jsonschema.UnmarshalJSON(strings.NewReader(b.text))
			valid := jsonErr == nil && published.Validate(value) == nil
			if agrees := valid == (b.reason == ""); agrees == (b.beyondSchema != "") {
				t.Errorf("the schema says valid=%v, beyondSchema is %q", valid, b.beyondSchema)
			}
		})
		beyond[b.beyondSchema] = true
	}
	if len(beyond) < 12 {
		t.Errorf("not all that a schema can't say has a row: %v", beyond)
	}
}

// checkDetail: a detail ends in a message attribute and in logs.
func checkDetail(t *testing.T, err *Error) {
	t.Helper()
	text := err.Error()
	if err.Detail == "" || len(text) > 400 {
		t.Errorf("its message is not one short line (%d bytes): %.500q", len(text), text)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r == 0xFFFE || r == 0xFFFF }); i >= 0 {
		t.Errorf("its message has a character that SQS refuses at %d: %q", i, text)
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile(filepath.Join(docs, "command.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(docs, "command.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	meta, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	draft, err := c.Compile("https://json-schema.org/draft/2020-12/schema")
	if err != nil {
		t.Fatal(err)
	}
	if err := draft.Validate(meta); err != nil {
		t.Errorf("the schema is no JSON Schema 2020-12: %v", err)
	}
	return schema
}
