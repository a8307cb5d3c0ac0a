package dtdl

import (
	"slices"
	"strconv"
	"strings"
)

// dialect is the version of the language, its limits and the extensions that are in force in an interface.
type dialect struct {
	version    int
	limits     limits
	extensions map[string]int // name to version
	undefined  bool           // a context that this package does not know is in force, and that is allowed
}

// limits of one version; 0 is no limit. They count what their name says.
type limits struct {
	name         int // bytes
	displayName  int // characters
	description  int // characters
	interfaceID  int // bytes
	elementID    int // bytes
	contents     int // own contents of an interface
	extends      int // interfaces that one extends directly
	extendsDepth int
	schemaDepth  int
	fields       int
	enumValues   int
	properties   int // of a relationship
	multiplicity int // greatest maxMultiplicity
	interfaceLen int // bytes
}

var versionLimits = map[int]limits{
	2: {name: 64, displayName: 64, description: 512, interfaceID: MaxInterfaceDTMI, elementID: MaxUserDTMI, contents: 300, extends: 2,
		extendsDepth: 10, schemaDepth: 5, fields: 30, enumValues: 100, properties: 300, multiplicity: 500},
	3: {name: 512, displayName: 512, description: 512, interfaceID: MaxInterfaceDTMI, elementID: MaxUserDTMI,
		extendsDepth: 10, schemaDepth: 5, interfaceLen: MaxInterfaceSize},
	4: {name: 512, displayName: 512, description: 512, interfaceID: MaxInterfaceDTMI, elementID: MaxUserDTMI,
		extendsDepth: 12, schemaDepth: 8, interfaceLen: MaxInterfaceSize},
}

// limitContexts raise limits of v4: onvif after DTDL.onvif.v1.md; aio has the same form.
var limitContexts = map[string]func(*limits){
	"dtmi:dtdl:limits:onvif;1": func(l *limits) {
		l.interfaceID, l.elementID, l.description, l.schemaDepth = 256, 512, 4096, 24
	},
	"dtmi:dtdl:limits:aio;1": func(l *limits) {
		l.interfaceID, l.elementID, l.description, l.schemaDepth = 256, 512, 2048, 12
	},
}

// extensionRange says which versions of an extension each version of the language can use.
type extensionRange struct{ v3, v4 [2]int }

var knownExtensions = map[string]extensionRange{
	"annotation":        {[2]int{1, 2}, [2]int{2, 2}},
	"historization":     {[2]int{1, 2}, [2]int{2, 2}},
	"mqtt":              {[2]int{1, 4}, [2]int{2, 4}},
	"overriding":        {[2]int{1, 2}, [2]int{2, 2}},
	"quantitativeTypes": {[2]int{1, 1}, [2]int{2, 3}},
	"requirement":       {[2]int{1, 2}, [2]int{1, 2}},
}

// Extensions whose types and properties this package keeps without knowing each by name.
const (
	quantitativeTypes = "quantitativeTypes"
	iotCentral        = "iotcentral"
	iotOperations     = "iotoperations"
)

// adjunct is a co-type that an extension defines.
type adjunct struct {
	extension string
	from      int // first version of the extension that has it
	on        []string
	required  string   // a property that must be there
	props     []string // all of its properties
}

var adjuncts = map[string]adjunct{
	"ValueAnnotation": {"annotation", 1, []string{"Property", "Telemetry"}, "annotates", []string{"annotates"}},
	"Historized":      {"historization", 1, []string{"Property", "Telemetry"}, "", nil},
	"Override":        {"overriding", 1, []string{"Property"}, "overrides", []string{"overrides"}},
	"Required":        {"requirement", 1, []string{"Field", "Property"}, "", nil},
	"Cacheable":       {"mqtt", 1, []string{"Command"}, "ttl", []string{"ttl"}},
	"Idempotent":      {"mqtt", 1, []string{"Command"}, "", nil},
	"Indexed":         {"mqtt", 1, []string{"EnumValue", "Field", "Property", "Telemetry"}, "index", []string{"index"}},
	"Mqtt": {"mqtt", 1, []string{"Interface"}, "payloadFormat", []string{"commandTopic", "telemetryTopic", "propertyTopic", "payloadFormat",
		"cmdServiceGroupId", "telemServiceGroupId"}},
	"Transparent":    {"mqtt", 2, []string{"CommandRequest", "CommandResponse"}, "", nil},
	"Error":          {"mqtt", 3, []string{"Object"}, "", nil},
	"Result":         {"mqtt", 3, []string{"Object"}, "", nil},
	"ErrorMessage":   {"mqtt", 3, []string{"Field"}, "", nil},
	"ErrorResult":    {"mqtt", 3, []string{"Field"}, "", nil},
	"NormalResult":   {"mqtt", 3, []string{"Field"}, "", nil},
	"ErrorCode":      {"mqtt", 4, []string{"Field"}, "", nil},
	"ErrorInfo":      {"mqtt", 4, []string{"Field"}, "", nil},
	"Indirect":       {"mqtt", 4, []string{"Field"}, "", nil},
	"PropertyValue":  {"mqtt", 4, []string{"Field"}, "", nil},
	"ReadError":      {"mqtt", 4, []string{"Field"}, "", nil},
	"WriteError":     {"mqtt", 4, []string{"Field"}, "", nil},
	"PropertyResult": {"mqtt", 4, []string{"Object"}, "", nil},
	"Fragmented":     {"mqtt", 4, []string{"Property"}, "", nil},
}

// foreign reports whether a co-type is not one of the adjuncts.
func foreign(coType string) bool {
	_, known := adjuncts[coType]
	return !known
}

// classes lists the properties of each class of the language beside @type, @id, comment, description and
// displayName.
var classes = map[string][]string{
	"Interface":       {"contents", "extends", "schemas"},
	"Property":        {"name", "schema", "writable"},
	"Telemetry":       {"name", "schema"},
	"Command":         {"name", "request", "response", "commandType"},
	"CommandPayload":  {"name", "schema"},
	"CommandRequest":  {"name", "schema", "nullable"},
	"CommandResponse": {"name", "schema", "nullable"},
	"Relationship":    {"name", "target", "minMultiplicity", "maxMultiplicity", "properties", "writable"},
	"Component":       {"name", "schema"},
	"Array":           {"elementSchema"},
	"Enum":            {"valueSchema", "enumValues"},
	"EnumValue":       {"name", "enumValue"},
	"Map":             {"mapKey", "mapValue"},
	"MapKey":          {"name", "schema"},
	"MapValue":        {"name", "schema"},
	"Object":          {"fields"},
	"Field":           {"name", "schema"},
}

// term turns the identifier of a part of the language into its short name: "dtmi:dtdl:class:Field;4" into
// "Field". It returns s itself where s is none of the version.
func (d *dialect) term(space, s string) string {
	rest, ok := strings.CutPrefix(s, space)
	if !ok {
		return s
	}
	name, version, ok := strings.Cut(rest, ";")
	if v, err := strconv.Atoi(version); !ok || err != nil || v < 2 || v > d.version {
		return s
	}
	return name
}

// primitive returns the built-in schema with the term or identifier; nil if there is none in the version.
func (d *dialect) primitive(s string) *Schema {
	for _, space := range [...]string{"dtmi:dtdl:instance:Schema:", "dtmi:standard:schema:geospatial:", "dtmi:standard:schema:"} {
		s = d.term(space, s)
	}
	i := slices.Index(kindNames[:Array], s)
	if i <= 0 || d.version < 4 && sinceV4(SchemaKind(i)) {
		return nil
	}
	return builtin[i]
}

func sinceV4(k SchemaKind) bool {
	switch k {
	case Byte, Bytes, Decimal, Short, UnsignedByte, UnsignedInteger, UnsignedLong, UnsignedShort, UUID, ScaledDecimal:
		return true
	}
	return false
}

// builtin are the schemas that the language itself names.
var builtin = func() (all [Array]*Schema) {
	for k := Boolean; k < Array; k++ {
		all[k] = &Schema{kind: k}
	}
	s := all[ScaledDecimal]
	s.fields = []Field{{name: "scale", schema: all[Short]}, {name: "value", schema: all[Decimal]}}
	s.byName = map[string]int{"scale": 0, "value": 1}
	return all
}()
