package dynamo

import "testing"

func TestReservedWords(t *testing.T) {
	if n := len(reservedWords); n != 573 {
		t.Errorf("%d reserved words, AWS lists 573", n)
	}
	for word, want := range map[string]bool{"ABORT": true, "status": true, "Zone": true, "order_amount": false, "": false, "user_id": false} {
		if reserved(word) != want {
			t.Errorf("reserved(%q) is %v", word, !want)
		}
	}
}
