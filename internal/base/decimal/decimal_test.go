package decimal

import (
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

func number(t testing.TB, text string) Number {
	t.Helper()
	n, ok := Parse(text)
	if !ok {
		t.Fatalf("%q is not read", text)
	}
	return n
}

// randomText writes a random number in a random form: zeros at either end, a point anywhere, an exponent.
func randomText(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(2) == 0 {
		b.WriteByte('-')
	}
	digits := func(n int) {
		for range n {
			b.WriteByte("0001234567899"[r.IntN(13)])
		}
	}
	digits(1 + r.IntN(6))
	if r.IntN(2) == 0 {
		b.WriteByte('.')
		digits(1 + r.IntN(6))
	}
	if r.IntN(3) == 0 {
		b.WriteString("e" + strconv.Itoa(r.IntN(13)-6))
	}
	return b.String()
}

// TestAgainstBig holds Compare, IsInteger and AppendPlain to math/big.
func TestAgainstBig(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	rat := func(text string) *big.Rat {
		v, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("math/big doesn't read %q", text)
		}
		return v
	}
	for range 20_000 {
		x, y := randomText(r), randomText(r)
		if r.IntN(4) == 0 {
			plain, _ := AppendPlain(nil, x)
			y = string(plain)
		}
		a, b := number(t, x), number(t, y)
		if got, want := Compare(&a, &b), rat(x).Cmp(rat(y)); got != want {
			t.Fatalf("Compare(%s, %s) is %d, want %d", x, y, got, want)
		}
		if got, want := a.IsInteger(), rat(x).IsInt(); got != want {
			t.Fatalf("IsInteger of %s is %v", x, got)
		}
		if plain := string(a.AppendPlain(nil)); rat(plain).Cmp(rat(x)) != 0 || strings.ContainsAny(plain, "eE") {
			t.Fatalf("%s became %s", x, plain)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]bool{"0": true, "-0": true, "007": true, "1.50": true, "1e5": true, "1E+05": true,
		"": false, "-": false, "+1": false, ".5": false, "1.": false, "1e": false, "1e+": false, "1_0": false, "0x1": false, " 1": false,
		"1 ": false, "NaN": false, "1.2.3": false} {
		if _, ok := Parse(text); ok != want {
			t.Errorf("Parse(%q) is %v", text, ok)
		}
	}
	for text, want := range map[string]bool{"9.9999999999999999999999999999999999999e125": true, "1e126": false, "1e-130": true, "9e-131": false,
		"12345678901234567890123456789012345678000": true, "123456789012345678901234567890123456789": false, "0e999999999999": true, "1e999999999999": false} {
		n := number(t, text)
		if n.Fits() != want {
			t.Errorf("Fits of %s is %v", text, !want)
		}
	}
	for text, want := range map[string]int64{"1": 1, "7.0e2": 700, "9223372036854775807": 1<<63 - 1, "9223372036854775808": 0, "0": 0, "-1": 0, "1.5": 0} {
		n := number(t, text)
		if v, ok := n.Int64(); ok != (want != 0) || ok && v != want {
			t.Errorf("Int64 of %s is %d, %v", text, v, ok)
		}
	}
}

func TestNumbers(t *testing.T) {
	for text, want := range map[string]string{
		"150.00": "150", "007.50": "7.5", "-0": "0", "0E999": "0", "0.000": "0", "1e3": "1000", "-1.5E-2": "-0.015",
		"12345.6789e-3": "12.3456789", "1.5" + strings.Repeat("0", 40): "1.5", "1E125": "1" + strings.Repeat("0", 125),
		"1E-130": "0." + strings.Repeat("0", 129) + "1", "100": "100", "0.1e1": "1", "120e-1": "12", "-987e-2": "-9.87",
		"1E126": "", "9E-131": "", "": "", "-": "", "x": "", "1x": "", "1e+": "", "1.e1": "", ".1": "", "--1": "",
	} {
		got, ok := AppendPlain(nil, text)
		if string(got) != want || ok != (want != "") {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	// As DynamoDB Local 3.3.1 counts them, found by filling items up to the limit.
	for text, want := range map[string]int{
		"0": 1, "1": 2, "-1": 3, "12": 2, "123": 3, "1234": 3, "12345": 4, "-12345": 5, "0.5": 2, "0.05": 2, "0.005": 2, "1.5": 3,
		"15.5": 3, "100": 2, "1000": 2, "10000": 2, "1E125": 2, "1E-130": 2, strings.Repeat("1", 38): 20, "123456789.123456789": 11,
		"12.34": 3, "1.234": 4,
	} {
		if n, ok := Parse(text); !ok || n.Bytes() != want {
			t.Errorf("%s takes %d bytes, want %d", text, n.Bytes(), want)
		}
	}
}
