package importer

import (
	"bytes"
	"strings"

	"tributary/internal/base/rawjson"
)

// formats are those that an import can't read, by the bytes that their files begin with.
var formats = []struct{ magic, what string }{
	{"PAR1", "is a Parquet file, which an import can't read: convert it to CSV first, such as with duckdb -c \"COPY 'FILE' TO 'FILE.csv'\""},
	{"Obj\x01", "is an Avro file, which an import can't read: convert it to JSON Lines first, such as with avro-tools tojson"},
	{"ORC", "is an ORC file, which an import can't read: convert it to CSV or JSON Lines first"},
	{"ARROW1", "is an Arrow file, which an import can't read: convert it to CSV or JSON Lines first"},
	{"SQLite format 3\x00", "is an SQLite database, which an import can't read: export a table of it, such as with sqlite3 -header -csv"},
	{"\xd0\xcf\x11\xe0", "is an old Excel or Office file, which an import can't read: save it as \"CSV UTF-8\" in the spreadsheet"},
	{"BZh", "is compressed with bzip2, which an import can't read: pipe it in (bzip2 -dc FILE | producer import - …)"},
	{"\xfd7zXZ", "is compressed with xz, which an import can't read: pipe it in (xz -dc FILE | producer import - …)"},
	{"7z\xbc\xaf", "is a 7z archive, which an import can't read: unpack it first"},
	{"\xff\xfe", utf16Text}, {"\xfe\xff", utf16Text},
	{"<?xml", "is XML, which an import can't read: convert it to CSV or JSON Lines first"},
	{"<!DOCTYPE", "is a web page, not a table: was it the answer to a failed download?"},
	{"<html", "is a web page, not a table: was it the answer to a failed download?"},
	{"\x1f\x8b", "is compressed twice: decompress it once first"}, {"\x28\xb5\x2f\xfd", "is compressed twice: decompress it once first"},
}

const utf16Text = "is UTF-16: convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)"

// foreign recognises, by its first bytes, a file that an import can't read. It says what the file is and what to do.
func foreign(name string, start []byte) string {
	for _, f := range formats {
		if bytes.HasPrefix(start, []byte(f.magic)) {
			return strings.ReplaceAll(f.what, "FILE", name)
		}
	}
	if bytes.HasPrefix(start, []byte("PK\x03\x04")) || bytes.HasPrefix(start, []byte("PK\x05\x06")) {
		if strings.HasSuffix(strings.ToLower(name), ".xlsx") || bytes.Contains(start, []byte("[Content_Types].xml")) {
			return "is an Excel workbook (XLSX), which an import can't read: save it as \"CSV UTF-8\" in the spreadsheet"
		}
		return strings.ReplaceAll("is a zip archive, which an import can't read: pipe it in (unzip -p FILE | producer import - …), or unpack it", "FILE", name)
	}
	if len(start) >= 4 && (start[0] == 0) != (start[1] == 0) && (start[0] == 0) == (start[2] == 0) && (start[1] == 0) == (start[3] == 0) {
		if start[0] == 0 {
			return "is UTF-16: convert it to UTF-8 first (iconv -f UTF-16BE -t UTF-8)"
		}
		return "is UTF-16: convert it to UTF-8 first (iconv -f UTF-16LE -t UTF-8)"
	}
	return ""
}

// isExport says whether a line is an item of a DynamoDB export to S3 ("DynamoDB table export output format"): an
// object with the one member Item, whose values are objects that name a type.
func isExport(line string) bool {
	s := rawjson.New(line)
	if s.Open('{'); !s.More('}') || s.Name() != "Item" || s.Peek() != '{' {
		return false
	}
	s.Open('{')
	if !s.More('}') {
		return false
	}
	s.Name()
	if s.Peek() != '{' {
		return false
	}
	s.Open('{')
	return s.More('}') && strings.Contains(" S N B SS NS BS M L BOOL NULL ", " "+s.Name()+" ")
}

const exportLines = `is a DynamoDB export (lines of {"Item":…}), which an import can't read: make plain objects of its items first, such as with jq -c '.Item | map_values(.[])'`
