package dynamo

import (
	_ "embed"
	"strings"
)

// reservedText is the list of "Reserved words in DynamoDB", one upper-case word a line.
//
//go:embed reserved.txt
var reservedText string

var reservedWords = func() map[string]bool {
	words := make(map[string]bool)
	for word := range strings.FieldsSeq(reservedText) {
		words[word] = true
	}
	return words
}()

// reserved says whether an expression may use name only by way of ExpressionAttributeNames.
func reserved(name string) bool { return reservedWords[strings.ToUpper(name)] }
