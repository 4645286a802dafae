package messages

// Field is a field of a command, for programs that make commands of something else.
type Field = field

// The fields. FieldAttributes is the last one.
const (
	FieldType        = fieldType
	FieldTenantID    = fieldTenantID
	FieldUserID      = fieldUserID
	FieldOrderID     = fieldOrderID
	FieldUserName    = fieldUserName
	FieldUserEmail   = fieldUserEmail
	FieldOrderAmount = fieldOrderAmount
	FieldVersion     = fieldVersion
	FieldAttributes  = fieldAttributes
)

// FieldOf returns the field of this name; ok is false where there is none.
func FieldOf(name string) (f Field, ok bool) {
	f = fieldOf(name)
	return f, f != unknownField
}

// Requires says whether commands of a kind must have a field.
func Requires(k Kind, f Field) bool { return required[k]&bit(f) != 0 }
