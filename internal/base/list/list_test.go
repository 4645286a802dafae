package list

import (
	"math/rand/v2"
	"slices"
	"testing"
)

type item struct {
	n    int
	node Node[item]
}

// TestList compares a list with a slice, step by step.
func TestList(t *testing.T) {
	var l List[item]
	var want []*item
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 2000 {
		i := &item{n: n}
		at := 0
		if len(want) > 0 {
			at = r.IntN(len(want))
		}
		switch op := r.IntN(5); {
		case op == 0:
			l.PushFront(&i.node, i)
			want = slices.Insert(want, 0, i)
		case op == 1 || len(want) == 0:
			l.PushBack(&i.node, i)
			want = append(want, i)
		case op == 2:
			l.Replace(&want[at].node, &i.node, i)
			want[at] = i
		default:
			l.Remove(&want[at].node)
			if want[at].node != (Node[item]{}) {
				t.Fatal("a removed node keeps its neighbours in memory")
			}
			want = slices.Delete(want, at, at+1)
		}
		var got []*item
		for v := l.Last(); v != nil; v = v.node.Prev() {
			got = append(got, v)
		}
		slices.Reverse(got)
		if !slices.Equal(got, want) {
			t.Fatalf("step %d: the list has %d items, want %d", n, len(got), len(want))
		}
		if len(want) > 0 && l.First() != want[0] || len(want) == 0 && (l.First() != nil || l.Last() != nil) {
			t.Fatalf("step %d: the first item is wrong", n)
		}
	}
}
