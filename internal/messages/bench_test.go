package messages

import (
	"strings"
	"testing"
)

const benchOrder = `{"type":"put_order","tenant_id":"tenant-0042","order_id":"0192f0a1-7c3e-7000-8000-000000000042","user_id":"0192f0a1-7c3e-7111-8111-000000000007","order_amount":"149.99"}`

// reportCommands adds the rate that matters: how many commands a second one processor takes.
func reportCommands(b *testing.B, each int) {
	b.ReportMetric(float64(b.N*each)/b.Elapsed().Seconds(), "commands/s")
}

func BenchmarkDecodeSingle(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(benchOrder)))
	dst := make([]Decoded, 0, 10)
	for b.Loop() {
		var err *Error
		if dst, err = Decode(types, dst[:0], benchOrder, nil); err != nil || dst[0].Err != nil {
			b.Fatal(err, dst)
		}
	}
	reportCommands(b, 1)
}

func BenchmarkDecodePacked(b *testing.B) {
	const n = 100
	for _, form := range []struct{ name, before, after string }{{"array", "[", "]"}, {"object", `{"commands":[`, "]}"}} {
		b.Run(form.name, func(b *testing.B) {
			body := form.before + strings.TrimSuffix(strings.Repeat(benchOrder+",", n), ",") + form.after
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			dst := make([]Decoded, 0, n)
			for b.Loop() {
				var err *Error
				if dst, err = Decode(types, dst[:0], body, nil); err != nil || len(dst) != n {
					b.Fatal(err, len(dst))
				}
			}
			reportCommands(b, n)
		})
	}
}

func BenchmarkDecodeAttributes(b *testing.B) {
	body := strings.TrimSuffix(benchOrder, "}") + `,"version":7,"attributes":{"channel":"web","lines":[{"sku":"A-1","qty":2},{"sku":"B-7","qty":1}],"gift":false}}`
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	dst := make([]Decoded, 0, 10)
	for b.Loop() {
		var err *Error
		if dst, err = Decode(types, dst[:0], body, nil); err != nil || dst[0].Err != nil {
			b.Fatal(err, dst)
		}
	}
	reportCommands(b, 1)
}

func BenchmarkAppend(b *testing.B) {
	d, err := Decode(types, nil, benchOrder, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		dst = Append(dst[:0], &d[0].Command)
	}
	reportCommands(b, 1)
}
