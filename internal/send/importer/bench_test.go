package importer

import (
	"strings"
	"testing"
)

// BenchmarkImport checks rows as an import does: reading, mapping, validating, counting keys and units.
func BenchmarkImport(b *testing.B) {
	const rows = 50_000
	for _, file := range []struct {
		name, head, row string
		format          Format
	}{
		{"CSV", "order_id,user_id,order_amount,status,tenant_id\n", "0190f3c1-7a5e-7abc-8def-0123456789ab,u-36901,173665.47,open,acme\n", CSV},
		{"JSON", "", `{"tenant_id":"acme","order_id":"0190f3c1-7a5e-7abc-8def-0123456789ab","user_id":"u-36901","order_amount":173665.47}` + "\n", JSONLines},
	} {
		b.Run(file.name, func(b *testing.B) {
			text := file.head + strings.Repeat(file.row, rows)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				result, err := Files(b.Context(), []string{"-"}, &Options{Format: file.format, Mapping: putOrder, Stdin: strings.NewReader(text)})
				if err != nil || result.Commands != rows {
					b.Fatalf("%v, %+v", err, result.Counts)
				}
			}
			b.ReportMetric(float64(b.N)*rows/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
