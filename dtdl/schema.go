package dtdl

import (
	"encoding/json"
	"slices"
)

// SchemaKind is the kind of a schema.
type SchemaKind uint8

// The kinds, in the order of the specification.
const (
	Boolean SchemaKind = iota + 1
	Byte
	Bytes
	Date
	DateTime
	Decimal
	Double
	Duration
	Float
	Integer
	Long
	Short
	String
	Time
	UnsignedByte
	UnsignedInteger
	UnsignedLong
	UnsignedShort
	UUID
	ScaledDecimal
	Point
	MultiPoint
	LineString
	MultiLineString
	Polygon
	MultiPolygon
	Array
	Enum
	Map
	Object
)

var kindNames = [...]string{
	"", "boolean", "byte", "bytes", "date", "dateTime", "decimal", "double", "duration", "float", "integer", "long", "short", "string",
	"time", "unsignedByte", "unsignedInteger", "unsignedLong", "unsignedShort", "uuid", "scaledDecimal",
	"point", "multiPoint", "lineString", "multiLineString", "polygon", "multiPolygon", "Array", "Enum", "Map", "Object",
}

// String returns the kind as it is written in a document.
func (k SchemaKind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return ""
}

// Numeric reports whether values of the kind are JSON numbers.
func (k SchemaKind) Numeric() bool {
	switch k {
	case Byte, Double, Float, Integer, Long, Short, UnsignedByte, UnsignedInteger, UnsignedLong, UnsignedShort:
		return true
	}
	return false
}

// Integral reports whether values of the kind are whole JSON numbers.
func (k SchemaKind) Integral() bool { return k.Numeric() && k != Double && k != Float }

// Geospatial reports whether values of the kind are GeoJSON geometries.
func (k SchemaKind) Geospatial() bool { return k >= Point && k <= MultiPolygon }

// Complex reports whether the kind is Array, Enum, Map or Object.
func (k SchemaKind) Complex() bool { return k >= Array }

// Schema is the type of a value. It is its own compiled validator, never changes, and is safe for
// concurrent use. In v4 a schema may contain itself.
type Schema struct {
	Element
	kind SchemaKind

	elem       *Schema // of Array; value of Map
	key, value *MapEntry

	fields  []Field // of Object
	byName  map[string]int
	require []int // indexes of the fields that must be there

	values  []EnumValue // of Enum
	integer bool        // the values are integers
	ints    map[int32]int
	strings map[string]int
}

// Field is one field of an Object.
type Field struct {
	Element
	name     string
	schema   *Schema
	required bool
}

// Name returns the key of the field.
func (f *Field) Name() string { return f.name }

// Schema returns the type of the field.
func (f *Field) Schema() *Schema { return f.schema }

// Required reports whether an instance must have the field. The language makes fields optional unless the
// extension "requirement" says otherwise.
func (f *Field) Required() bool { return f.required }

// EnumValue is one value of an Enum.
type EnumValue struct {
	Element
	name    string
	text    string
	integer int32
}

// Name returns the programming name, which is not what is on the wire.
func (v *EnumValue) Name() string { return v.name }

// Text returns the value of a string enum; empty for an integer enum.
func (v *EnumValue) Text() string { return v.text }

// Int returns the value of an integer enum; 0 for a string enum.
func (v *EnumValue) Int() int32 { return v.integer }

// Kind returns the kind; 0 for a schema that a partial set lacks.
func (s *Schema) Kind() SchemaKind { return s.kind }

// Elem returns the type of the elements of an Array or of the values of a Map, otherwise nil.
func (s *Schema) Elem() *Schema { return s.elem }

// MapEntry is the key or the value of a Map.
type MapEntry struct {
	Element
	name   string
	schema *Schema
}

// Name returns the programming name.
func (m *MapEntry) Name() string { return m.name }

// Schema returns the type.
func (m *MapEntry) Schema() *Schema { return m.schema }

// MapKey returns the description of the keys of a Map, otherwise nil.
func (s *Schema) MapKey() *MapEntry { return s.key }

// MapValue returns the description of the values of a Map, otherwise nil.
func (s *Schema) MapValue() *MapEntry { return s.value }

// Fields returns the fields of an Object in document order. The slice is the caller's.
func (s *Schema) Fields() []Field { return slices.Clone(s.fields) }

// Field returns the field of an Object with the name; it does not allocate.
func (s *Schema) Field(name string) (*Field, bool) {
	i, ok := s.byName[name]
	if !ok {
		return nil, false
	}
	return &s.fields[i], true
}

// EnumValues returns the values of an Enum in document order. The slice is the caller's.
func (s *Schema) EnumValues() []EnumValue { return slices.Clone(s.values) }

// EnumKind returns [Integer] or [String] for an Enum, otherwise 0.
func (s *Schema) EnumKind() SchemaKind {
	switch {
	case s.kind != Enum:
		return 0
	case s.integer:
		return Integer
	}
	return String
}

// Validate reports whether raw is a value of the schema: the exact JSON text of one value, at most
// [MaxValueBytes] long and [MaxValueDepth] deep. The error is a [*vaultmesh.Error] whose subject is the path
// to the fault. Validating a number or a boolean does not allocate.
func (s *Schema) Validate(raw json.RawMessage) error {
	return instance{schema: s}.validate("value", "", raw)
}

// Faults returns all that makes raw no value of the schema, at most [MaxFaults]; nil if it is one. Behind text
// that is no JSON nothing more is found.
func (s *Schema) Faults(raw json.RawMessage) []Fault { return instance{schema: s}.faults(raw) }
