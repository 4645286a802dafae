// Make writes the example files, always the same ones, in the folder that it is given: go generate ./examples/... The names in
// them are made up, and a few rows are wrong on purpose.
package main

//go:generate go run . ../..

import (
	"bytes"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: make FOLDER")
	}
	for name, content := range files() {
		if err := os.WriteFile(filepath.Join(os.Args[1], name), content, 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

// files makes the files' contents, by name.
func files() map[string][]byte {
	m := maker{rng: rand.New(rand.NewPCG(2026, 11))}
	return map[string][]byte{"users.jsonl": m.users(), "orders.csv": m.orders(), "orders.jsonl": m.shop()}
}

var (
	tenants = []string{"harbor-books", "north-bakery", "pine-cycles"}
	first   = []string{"Ada", "Bora", "Chidi", "Dina", "Emil", "Farah", "Goran", "Hana", "Ines", "Jonas", "Kei", "Lucía"}
	last    = []string{"Abbott", "Berg", "Castillo", "Dahl", "Eze", "Farrow", "Grau", "Holm", "Ito", "Jensen", "Köhler", "Lund"}
	notes   = []string{"", "", "", "gift wrapping", "leave at the door", `says "thanks"`, "call first,\nthen deliver", "größte Packung"}
)

const (
	usersEach  = 20
	csvOrders  = 1_000
	jsonOrders = 200
)

type maker struct{ rng *rand.Rand }

// users are commands, one a line; two of them are wrong.
func (m *maker) users() []byte {
	var b bytes.Buffer
	for _, tenant := range tenants {
		for i := range usersEach {
			f, l := first[m.rng.IntN(len(first))], last[m.rng.IntN(len(last))]
			fmt.Fprintf(&b, `{"type":"put_user","tenant_id":"%s","user_id":"u%03d","user_name":"%s %s","user_email":"u%03d@%s.example"}`+"\n",
				tenant, i+1, f, l, i+1, tenant)
		}
	}
	b.WriteString(`{"type":"put_user","tenant_id":"harbor-books","user_id":"u#21","user_name":"Wrong id","user_email":"u21@harbor-books.example"}` + "\n")
	b.WriteString(`{"type":"put_user","tenant_id":"harbor-books","user_id":"u022","user_name":"No address"}` + "\n")
	return b.Bytes()
}

// orders are a spreadsheet's rows with the names of fields for columns; four of them are wrong.
func (m *maker) orders() []byte {
	var b bytes.Buffer
	b.WriteString("tenant_id,order_id,user_id,order_amount,placed_at,note\n")
	placed := time.Date(2026, 10, 1, 6, 0, 0, 0, time.UTC)
	for i := range csvOrders {
		placed = placed.Add(time.Duration(m.rng.IntN(3600)) * time.Second)
		fmt.Fprintf(&b, "%s,o%05d,u%03d,%d.%02d,%s,%s\n", tenants[m.rng.IntN(len(tenants))], i+1, 1+m.rng.IntN(usersEach),
			1+m.rng.IntN(400), m.rng.IntN(100), placed.Format(time.RFC3339), quoted(notes[m.rng.IntN(len(notes))]))
		switch i {
		case 250:
			b.WriteString("harbor-books,o90001,u001,12,50,2026-10-05T08:00:00Z,a comma for the point\n")
		case 500:
			b.WriteString("north-bakery,o90002,u002,n/a,2026-10-09T08:00:00Z,\n")
		case 750:
			b.WriteString("pine cycles,o90003,u003,19.99,2026-10-13T08:00:00Z,no such tenant id\n")
		case 900:
			b.WriteString("pine-cycles,o90004,u004,123456789012345678901234567890123456789,2026-10-16T08:00:00Z,39 digits\n")
		}
	}
	return b.Bytes()
}

func quoted(note string) string {
	if note == "" {
		return ""
	}
	return `"` + string(bytes.ReplaceAll([]byte(note), []byte(`"`), []byte(`""`))) + `"`
}

// shop are another system's objects, with names and versions of their own; one of them is wrong.
func (m *maker) shop() []byte {
	var b bytes.Buffer
	for i := range jsonOrders {
		fmt.Fprintf(&b, `{"shop":"%s","number":"w%05d","customer":"u%03d","total":%d.%02d,"revision":%d,"channel":"web","items":%d}`+"\n",
			tenants[m.rng.IntN(len(tenants))], i+1, 1+m.rng.IntN(usersEach), 1+m.rng.IntN(400), m.rng.IntN(100), 1+m.rng.IntN(3), 1+m.rng.IntN(9))
	}
	b.WriteString(`{"shop":"pine-cycles","number":"w90001","customer":"u001","total":"free","revision":1,"channel":"web","items":1}` + "\n")
	return b.Bytes()
}
