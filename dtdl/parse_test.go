package dtdl

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"vaultmesh.org/vaultmesh"
)

var update = flag.Bool("update", false, "write the golden files anew")

// iface wraps members into an interface of DTDL v4 on one line.
func iface(id, members string) string {
	return fmt.Sprintf(`{"@context":"dtmi:dtdl:context;4","@id":%q,"@type":"Interface",%s}`, id, strings.TrimPrefix(members, ","))
}

func telemetry(schema string) string {
	return iface("dtmi:t:x;1", `"contents":[{"@type":"Telemetry","name":"v","schema":`+schema+`}]`)
}

func mustParse(t testing.TB, docs ...string) *Set {
	t.Helper()
	s, err := parse(docs...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parse(docs ...string) (*Set, error) {
	var all []Document
	for i, d := range docs {
		all = append(all, Document{Name: fmt.Sprintf("%d.json", i), Data: []byte(d)})
	}
	return Parse(all, Options{})
}

// nest writes a schema of n arrays around a double.
func nest(n int) string {
	return strings.Repeat(`{"@type":"Array","elementSchema":`, n) + `"double"` + strings.Repeat("}", n)
}

// chain writes n interfaces of which each extends the next one.
func chain(n, version int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"@context":"dtmi:dtdl:context;%d","@id":"dtmi:t:c%d;1","@type":"Interface"`, version, i)
		if i < n-1 {
			fmt.Fprintf(&b, `,"extends":"dtmi:t:c%d;1"`, i+1)
		}
		b.WriteByte('}')
	}
	return "[" + b.String()[1:] + "]"
}

// TestRules gives for each rule a set that breaks it, and beside it a set that just keeps it.
func TestRules(t *testing.T) {
	contents := func(c string) string { return iface("dtmi:t:x;1", `"contents":[`+c+`]`) }
	v3 := func(s string) string { return strings.ReplaceAll(s, "context;4", "context;3") }
	v2 := func(s string) string { return strings.ReplaceAll(s, "context;4", "context;2") }
	part := iface("dtmi:t:part;1", `"contents":[{"@type":"Telemetry","name":"p","schema":"double"}]`)
	holder := iface("dtmi:t:holder;1", `"contents":[{"@type":"Component","name":"c","schema":"dtmi:t:part;1"}]`)
	self := iface("dtmi:t:x;1", `"schemas":[{"@id":"dtmi:t:tree;1","@type":"Object","fields":[{"name":"children","schema":{"@type":"Array","elementSchema":"dtmi:t:tree;1"}}]}],
		"contents":[{"@type":"Telemetry","name":"v","schema":"dtmi:t:tree;1"}]`)
	long := func(n int) string { return "a" + strings.Repeat("b", n-1) }
	with := func(s, context string) string {
		return strings.Replace(s, `"dtmi:dtdl:context;4"`, `["dtmi:dtdl:context;4","dtmi:dtdl:extension:`+context+`"]`, 1)
	}
	for _, c := range []struct {
		name string
		docs []string
		want string // the rules that are broken, in order; empty for none
	}{
		{"empty set", nil, ""},
		{"empty array", []string{`[]`}, ""},
		{"byte order mark", []string{"\xEF\xBB\xBF" + part}, ""},
		{"not JSON", []string{`{"a":}`}, "notJson"},
		{"empty document", []string{``}, "notJson"},
		{"trailing data", []string{part + ` x`}, "notJson"},
		{"invalid UTF-8", []string{strings.Replace(part, "Telemetry", "Tele\xFF", 1)}, "notJson"},
		{"lone surrogate", []string{strings.Replace(part, `"p"`, `"\ud800"`, 1)}, "notJson"},
		{"depth of JSON", []string{strings.Repeat("[", MaxDocumentDepth+1)}, "notJson"},
		{"duplicate key", []string{strings.Replace(part, `"name":"p"`, `"name":"p","name":"q"`, 1)}, "duplicatePropertyName"},
		{"not an interface", []string{`[1]`}, "notJsonObject"},
		{"no context", []string{`{"@id":"dtmi:t:x;1","@type":"Interface"}`}, "missingContext"},
		{"unknown version", []string{strings.Replace(part, "context;4", "context;5", 1)}, "unrecognizedContextVersion"},
		{"context of terms", []string{strings.Replace(part, `"dtmi:dtdl:context;4"`, `["dtmi:dtdl:context;4",{"a":"b"}]`, 1)}, "disallowedLocalContext"},
		{"unknown extension", []string{strings.Replace(part, `"dtmi:dtdl:context;4"`, `["dtmi:dtdl:context;4","dtmi:x:ext;1"]`, 1)}, "unresolvableContextSpecifier"},
		{"no type", []string{`{"@context":"dtmi:dtdl:context;4","@id":"dtmi:t:x;1"}`}, "typeNotRootable"},
		{"other type", []string{strings.Replace(part, `"Interface"`, `"Telemetry"`, 1)}, "typeNotRootable"},
		{"type in lower case", []string{strings.Replace(part, `"Interface"`, `"interface"`, 1)}, "typeNotRootable"},
		{"no identifier", []string{`{"@context":"dtmi:dtdl:context;4","@type":"Interface"}`}, "missingTopLevelId"},
		{"bad identifier", []string{iface("dtmi:t:x-y;1", `"contents":[]`)}, "invalidId"},
		{"no version in v2", []string{v2(iface("dtmi:t:x", `"contents":[]`))}, "invalidId"},
		{"no version in v4", []string{iface("dtmi:t:x", `"contents":[]`)}, ""},
		{"system identifier", []string{iface("dtmi:t:_x;1", `"contents":[]`)}, "invalidId"},
		{"reserved identifier", []string{iface("dtmi:dtdl:x;1", `"contents":[]`)}, "reservedId"},
		{"identifier of 128", []string{iface("dtmi:"+long(121)+";1", `"contents":[]`)}, ""},
		{"identifier of 129", []string{iface("dtmi:"+long(122)+";1", `"contents":[]`)}, "idTooLongForType"},
		{"unknown property", []string{iface("dtmi:t:x;1", `"content":[]`)}, "propertyUndefinedTerm"},
		{"unknown keyword", []string{iface("dtmi:t:x;1", `"@graph":[]`)}, "topLevelGraphDisallowed"},
		{"unit without extension", []string{contents(`{"@type":"Telemetry","name":"v","schema":"double","unit":"volt"}`)}, "propertyUndefinedTerm"},
		{"co-type without extension", []string{contents(`{"@type":["Telemetry","Voltage"],"name":"v","schema":"double"}`)}, "typeUndefinedTerm"},
		{"adjunct on another class", []string{with(contents(`{"@type":["Command","Historized"],"name":"v"}`), "historization;2")}, "invalidCotype"},
		{"adjunct without its property", []string{with(contents(`{"@type":["Command","Cacheable"],"name":"v"}`), "mqtt;3")}, "missingSupplementalLiteralProperty missingCocotype"},
		{"adjunct", []string{with(contents(`{"@type":["Command","Cacheable","Idempotent"],"name":"v","ttl":"PT1M"}`), "mqtt;3")}, ""},
		{"adjunct of a later extension", []string{with(contents(`{"@type":["Property","Fragmented"],"name":"v","schema":"double"}`), "mqtt;3")}, "typeUndefinedTerm"},
		{"extension of no such version", []string{with(contents(``), "mqtt;9")}, "unresolvableContextVersion"},
		{"quantity", []string{with(contents(`{"@type":["Telemetry","Voltage"],"name":"v","schema":"double","unit":"volt"}`), "quantitativeTypes;2")}, ""},
		{"quantity without unit", []string{with(contents(`{"@type":["Telemetry","Voltage"],"name":"v","schema":"double"}`), "quantitativeTypes;2")}, "missingSupplementalObjectProperty"},
		{"quantity of text", []string{with(contents(`{"@type":["Telemetry","Voltage"],"name":"v","schema":"string","unit":"volt"}`), "quantitativeTypes;2")}, "notRequiredType"},
		{"quantity on a command", []string{with(contents(`{"@type":["Command","Voltage"],"name":"v"}`), "quantitativeTypes;2")}, "missingSupplementalObjectProperty invalidCotype"},
		{"two quantities", []string{with(contents(`{"@type":["Telemetry","Voltage","Power"],"name":"v","schema":"double","unit":"volt"}`), "quantitativeTypes;2")}, "conflictingSupplementalTypes"},
		{"unit is a number", []string{with(contents(`{"@type":["Telemetry","Voltage"],"name":"v","schema":"double","unit":1}`), "quantitativeTypes;2")}, "refNotStringOrObject objectCountBelowMin"},
		{"limitless without limits", []string{strings.Replace(part, "context;4", "context;4#limitless", 1)}, "missingLimitContext"},
		{"limits of onvif", []string{strings.Replace(telemetry(nest(24)), `"dtmi:dtdl:context;4"`, `["dtmi:dtdl:context;4#limitless","dtmi:dtdl:limits:onvif;1"]`, 1)}, ""},
		{"limits of onvif passed", []string{strings.Replace(telemetry(nest(25)), `"dtmi:dtdl:context;4"`, `["dtmi:dtdl:context;4#limitless","dtmi:dtdl:limits:onvif;1"]`, 1)}, "excessiveDepthWide"},
		{"newer element inside", []string{strings.Replace(v3(telemetry(nest(1))), `"@type":"Array"`, `"@context":"dtmi:dtdl:context;4","@type":"Array"`, 1)}, "disallowedVersionDefinition"},
		{"property by term and identifier", []string{iface("dtmi:t:x;1", `"comment":"a","dtmi:dtdl:property:comment;4":"b"`)}, "duplicatePropertyName"},
		{"one language twice", []string{iface("dtmi:t:x;1", `"displayName":["a","b"]`)}, "langStringElementCodeNotUnique"},
		{"two contents of one name", []string{contents(`{"@type":"Command","name":"v"},{"@type":"Command","name":"v"}`)}, "nonUniquePropertyValue"},
		{"no name", []string{contents(`{"@type":"Command"}`)}, "missingDtmiSegPropertyValue"},
		{"name with a dash", []string{contents(`{"@type":"Command","name":"a-b"}`)}, "stringInvalid"},
		{"name ends in underscore", []string{contents(`{"@type":"Command","name":"a_"}`)}, "stringInvalid"},
		{"name of 512", []string{contents(`{"@type":"Command","name":"` + long(512) + `"}`)}, ""},
		{"name of 513", []string{contents(`{"@type":"Command","name":"` + long(513) + `"}`)}, "stringTooLong"},
		{"name of 65 in v2", []string{v2(contents(`{"@type":"Command","name":"` + long(65) + `"}`))}, "stringTooLong"},
		{"name is a number", []string{contents(`{"@type":"Command","name":1}`)}, "stringNotString"},
		{"comment of 513", []string{iface("dtmi:t:x;1", `"comment":"`+long(513)+`"`)}, "stringTooLong"},
		{"language tag", []string{iface("dtmi:t:x;1", `"displayName":{"english":"x"}`)}, "langStringInvalidCode"},
		{"no schema", []string{contents(`{"@type":"Telemetry","name":"v"}`)}, "missingObjectProperty"},
		{"unknown schema", []string{telemetry(`"doubel"`)}, "badDtmiOrTerm objectCountBelowMin"},
		{"byte in v3", []string{v3(telemetry(`"byte"`))}, "badDtmiOrTerm objectCountBelowMin"},
		{"schema of nowhere", []string{telemetry(`"dtmi:t:none;1"`)}, "unresolvedReference"},
		{"schema of another interface", []string{telemetry(`"dtmi:t:e;1"`),
			iface("dtmi:t:y;1", `"schemas":[{"@id":"dtmi:t:e;1","@type":"Array","elementSchema":"double"}]`)}, "crossPartitionReference"},
		{"reusable schema without identifier", []string{iface("dtmi:t:x;1", `"schemas":[{"@type":"Array","elementSchema":"double"}]`)}, "missingRequiredId"},
		{"array without element", []string{telemetry(`{"@type":"Array"}`)}, "missingObjectProperty"},
		{"8 levels in v4", []string{telemetry(nest(8))}, ""},
		{"9 levels in v4", []string{telemetry(nest(9))}, "excessiveDepthWide"},
		{"5 levels in v3", []string{v3(telemetry(nest(5)))}, ""},
		{"6 levels in v3", []string{v3(telemetry(nest(6)))}, "excessiveDepthWide"},
		{"schema in itself in v4", []string{self}, ""},
		{"schema in itself in v3", []string{v3(self)}, "recursiveStructureNarrow recursiveStructureWide recursiveStructureWide"},
		{"array in property in v2", []string{v2(contents(`{"@type":"Property","name":"v","schema":` + nest(1) + `}`))}, "excludedType"},
		{"map key", []string{telemetry(`{"@type":"Map","mapKey":{"name":"k","schema":"integer"},"mapValue":{"name":"v","schema":"double"}}`)}, "badType"},
		{"enum of doubles", []string{telemetry(`{"@type":"Enum","valueSchema":"double","enumValues":[]}`)}, "incorrectPropertyValue"},
		{"enum value of another type", []string{telemetry(`{"@type":"Enum","valueSchema":"integer","enumValues":[{"name":"a","enumValue":"1"}]}`)}, "nonConformantDatatype"},
		{"enum value beyond 32 bits", []string{telemetry(`{"@type":"Enum","valueSchema":"integer","enumValues":[{"name":"a","enumValue":2147483648}]}`)}, "nonConformantDatatype"},
		{"enum value twice", []string{telemetry(`{"@type":"Enum","valueSchema":"string","enumValues":[{"name":"a","enumValue":"x"},{"name":"b","enumValue":"x"}]}`)}, "nonUniquePropertyValue"},
		{"enum name twice", []string{telemetry(`{"@type":"Enum","valueSchema":"string","enumValues":[{"name":"a","enumValue":"x"},{"name":"a","enumValue":"y"}]}`)}, "nonUniquePropertyValue"},
		{"field twice", []string{telemetry(`{"@type":"Object","fields":[{"name":"a","schema":"double"},{"name":"a","schema":"double"}]}`)}, "nonUniquePropertyValue"},
		{"nullable in v3", []string{v3(contents(`{"@type":"Command","name":"c","request":{"name":"r","schema":"double","nullable":true}}`))}, "propertyUndefinedTerm"},
		{"writable is a string", []string{contents(`{"@type":"Property","name":"v","schema":"double","writable":"true"}`)}, "booleanNotBoolean"},
		{"least multiplicity", []string{contents(`{"@type":"Relationship","name":"r","minMultiplicity":1}`)}, "valueNotExact"},
		{"greatest multiplicity", []string{contents(`{"@type":"Relationship","name":"r","maxMultiplicity":0}`)}, "valueBelowMin"},
		{"target", []string{contents(`{"@type":"Relationship","name":"r","target":"bus"}`)}, "identifierNotDtmi"},
		{"target that no document defines", []string{contents(`{"@type":"Relationship","name":"r","target":"dtmi:t:none;1"}`)}, ""},
		{"component", []string{part, holder}, ""},
		{"component of nowhere", []string{holder}, "unresolvedReference"},
		{"component with components", []string{part, holder, contents(`{"@type":"Component","name":"h","schema":"dtmi:t:holder;1"}`)}, "excludedType"},
		{"component with inherited components", []string{part, holder, iface("dtmi:t:heir;1", `"extends":"dtmi:t:holder;1"`),
			contents(`{"@type":"Component","name":"h","schema":"dtmi:t:heir;1"}`)}, "excludedType"},
		{"component of itself", []string{contents(`{"@type":"Component","name":"h","schema":"dtmi:t:x;1"}`)}, "excludedType"},
		{"identifier twice", []string{part, part}, "duplicateDefinition"},
		{"extends of nowhere", []string{iface("dtmi:t:x;1", `"extends":"dtmi:t:none;1"`)}, "unresolvedReference"},
		{"extends a schema", []string{iface("dtmi:t:x;1", `"extends":"dtmi:t:e;1"`), iface("dtmi:t:y;1", `"schemas":[{"@id":"dtmi:t:e;1","@type":"Array","elementSchema":"double"}]`)}, "crossPartitionReference badType"},
		{"extends itself", []string{iface("dtmi:t:x;1", `"extends":"dtmi:t:x;1"`)}, "recursiveStructureNarrow"},
		{"extends in a circle", []string{iface("dtmi:t:x;1", `"extends":"dtmi:t:y;1"`), iface("dtmi:t:y;1", `"extends":"dtmi:t:x;1"`)}, "recursiveStructureNarrow recursiveStructureNarrow"},
		{"extends over 12 levels", []string{chain(13, 4)}, ""},
		{"extends over 13 levels", []string{chain(14, 4)}, "excessiveDepthNarrow"},
		{"extends over 10 levels in v3", []string{chain(11, 3)}, ""},
		{"extends over 11 levels in v3", []string{chain(12, 3)}, "excessiveDepthNarrow"},
		{"extends a newer version", []string{part, v3(iface("dtmi:t:x;1", `"extends":"dtmi:t:part;1"`))}, "disallowedVersionReference"},
		{"inherited name", []string{part, iface("dtmi:t:x;1", `"extends":"dtmi:t:part;1","contents":[{"@type":"Command","name":"p"}]`)}, "nonUniqueImportedPropertyValue"},
		{"diamond", []string{part, iface("dtmi:t:l;1", `"extends":"dtmi:t:part;1"`), iface("dtmi:t:r;1", `"extends":"dtmi:t:part;1"`),
			iface("dtmi:t:x;1", `"extends":["dtmi:t:l;1","dtmi:t:r;1"]`)}, ""},
		{"one name from two sides", []string{part, iface("dtmi:t:q;1", `"contents":[{"@type":"Command","name":"p"}]`),
			iface("dtmi:t:x;1", `"extends":["dtmi:t:part;1","dtmi:t:q;1"]`)}, "nonUniqueImportedPropertyValue"},
		{"interface of 1 MiB", []string{iface("dtmi:t:x;1", `"contents":[]`+strings.Repeat(" ", 1<<20))}, "partitionTooLarge"},
		{"inline interface", []string{iface("dtmi:t:x;1", `"extends":`+part)}, ""},
		{"several errors", []string{`[1,2]`, contents(`{"@type":"Command"}`)}, "notJsonObject notJsonObject missingDtmiSegPropertyValue"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse(c.docs...)
			var all *Errors
			var got []string
			if errors.As(err, &all) {
				for _, e := range all.List {
					got = append(got, e.Code())
				}
				if vaultmesh.KindOf(err) != vaultmesh.Invalid {
					t.Errorf("the kind is %v", vaultmesh.KindOf(err))
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %v, want %q\n%v", got, c.want, err)
			}
		})
	}
}

// TestErrorTexts compares whole error texts with a golden file.
func TestErrorTexts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	var docs []Document
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, Document{Name: filepath.Base(file), Data: data})
	}
	_, err = Parse(docs, Options{})
	if err == nil {
		t.Fatal("no error")
	}
	golden := filepath.Join("testdata", "errors.golden")
	got := err.Error() + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestUndefinedExtensions keeps what an unknown extension adds, where that is allowed.
func TestUndefinedExtensions(t *testing.T) {
	doc := Document{Name: "x", Data: []byte(strings.Replace(iface("dtmi:t:x;1", `"contents":[{"@type":["Property","Tuned"],"name":"p","schema":"double","gain":[1, 2]}]`),
		`"dtmi:dtdl:context;4"`, `["dtmi:dtdl:context;4","dtmi:x:tuning;1"]`, 1))}
	if _, err := Parse([]Document{doc}, Options{}); err == nil {
		t.Error("an unknown extension is accepted")
	}
	s, err := Parse([]Document{doc}, Options{AllowUndefinedExtensions: true})
	if err != nil {
		t.Fatal(err)
	}
	i, _ := s.Interface("dtmi:t:x;1")
	p, _ := i.Property("p")
	if gain, ok := p.Extension("gain"); !ok || string(gain) != "[1, 2]" || !slices.Equal(p.CoTypes(), []string{"Tuned"}) {
		t.Errorf("gain %s, co-types %v", gain, p.CoTypes())
	}
	if _, ok := p.Extension("loss"); ok {
		t.Error("a property that is not there")
	}
}

func TestErrorsAreBounded(t *testing.T) {
	_, err := parse("[" + strings.Repeat("1,", 2*MaxErrors) + "1]")
	var all *Errors
	if !errors.As(err, &all) || len(all.List) != MaxErrors || all.Omitted != MaxErrors+1 {
		t.Errorf("%d errors and %d omitted", len(all.List), all.Omitted)
	}
}

func TestSetLimits(t *testing.T) {
	for name, docs := range map[string][]Document{
		"documents": make([]Document, MaxDocuments+1),
		"document":  {{Data: make([]byte, MaxDocumentBytes+1)}},
		"set":       slices.Repeat([]Document{{Data: slices.Concat([]byte("[]"), slices.Repeat([]byte(" "), MaxDocumentBytes-2))}}, 5),
	} {
		_, err := Parse(docs, Options{})
		var all *Errors
		if !errors.As(err, &all) || all.List[0].Code() != "tooLarge" {
			t.Errorf("%s: %.200v", name, err)
		}
	}
}

func TestModel(t *testing.T) {
	s := mustParse(t, iface("dtmi:t:base;1", `"displayName":{"en":"Base","de":"Basis"},"comment":"c","contents":[
		{"@type":"Property","name":"number","schema":"integer"},
		{"@type":"Command","name":"trip","request":{"name":"why","schema":"string","nullable":true},"response":{"name":"r","schema":"boolean"}}]`),
		strings.Replace(iface("dtmi:t:line;1", `"extends":"dtmi:t:base;1","contents":[
		{"@type":["Telemetry","Power"],"name":"power","schema":"double","unit":"watt"},
		{"@type":"Property","name":"limit","schema":"double","writable":true},
		{"@type":"Relationship","name":"to","target":"dtmi:t:bus;1","maxMultiplicity":1,"properties":[{"@type":"Property","name":"side","schema":"string"}]},
		{"@type":"Component","name":"meter","schema":"dtmi:t:base;1"}]`), `"dtmi:dtdl:context;4"`, `["dtmi:dtdl:context;4","dtmi:dtdl:extension:quantitativeTypes;2"]`, 1))
	line, ok := s.Interface("dtmi:t:line;1")
	if !ok || line.Version() != 4 || len(line.Extends()) != 1 {
		t.Fatalf("line: %v", line)
	}
	var names []string
	for _, c := range line.Contents() {
		names = append(names, c.Name()+" of "+c.DefinedIn().ID())
	}
	want := []string{"power of dtmi:t:line;1", "limit of dtmi:t:line;1", "to of dtmi:t:line;1", "meter of dtmi:t:line;1", "number of dtmi:t:base;1", "trip of dtmi:t:base;1"}
	if !slices.Equal(names, want) {
		t.Errorf("contents %q", names)
	}
	base, _ := s.Interface("dtmi:t:base;1")
	if base.DisplayName().In("de") != "Basis" || base.DisplayName().In("fr") != "Base" || base.Comment() != "c" {
		t.Error("the texts of the base")
	}
	if power, ok := line.Telemetry("power"); !ok || power.Unit() != "watt" || !power.HasCoType("Power") || power.Schema().Kind() != Double {
		t.Error("power")
	}
	if limit, ok := line.Property("limit"); !ok || !limit.Writable() {
		t.Error("limit")
	}
	if _, ok := line.Property("power"); ok {
		t.Error("power is a property")
	}
	if trip, ok := line.Command("trip"); !ok || !trip.Request().Nullable() || trip.Response().Schema().Kind() != Boolean {
		t.Error("trip")
	}
	to, ok := line.Relationship("to")
	if _, most := to.Multiplicity(); !ok || to.Target() != "dtmi:t:bus;1" || most != 1 {
		t.Error("to")
	}
	if _, ok := to.Property("side"); !ok {
		t.Error("side")
	}
	if meter, ok := line.Component("meter"); !ok || meter.Schema() != base {
		t.Error("meter")
	}
	for _, c := range []struct {
		model, base string
		want        bool
	}{
		{"dtmi:t:line;1", "dtmi:t:base;1", true}, {"dtmi:t:line;1", "dtmi:t:line;1", true}, {"dtmi:t:base;1", "dtmi:t:line;1", false},
		{"dtmi:t:none;1", "dtmi:t:none;1", false},
	} {
		if got := s.IsA(c.model, c.base); got != c.want {
			t.Errorf("IsA(%s, %s) = %v", c.model, c.base, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		i, _ := s.Interface("dtmi:t:line;1")
		_, _ = i.Telemetry("power")
		_, _ = i.Command("trip")
		_ = s.IsA("dtmi:t:line;1", "dtmi:t:base;1")
	}); n != 0 {
		t.Errorf("lookups allocate %v times", n)
	}
}

// TestConcurrentUse reads and validates from many goroutines; the race detector watches.
func TestConcurrentUse(t *testing.T) {
	s := mustParse(t, telemetry(`{"@type":"Object","fields":[{"name":"a","schema":"double"}]}`))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				i, _ := s.Interface("dtmi:t:x;1")
				v, _ := i.Telemetry("v")
				if err := v.Validate([]byte(`{"a":1}`)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

// TestOptions holds what the options that limit documents refuse.
func TestOptions(t *testing.T) {
	with := func(context string) []Document {
		return []Document{{Name: "x", Data: []byte(strings.Replace(iface("dtmi:t:x;1", `"contents":[]`), `"dtmi:dtdl:context;4"`, context, 1))}}
	}
	onvif := `["dtmi:dtdl:context;4#limitless","dtmi:dtdl:limits:onvif;1"]`
	for _, c := range []struct {
		name, context string
		o             Options
		want          string
	}{
		{"no limit", `"dtmi:dtdl:context;4"`, Options{}, ""},
		{"the highest version", `"dtmi:dtdl:context;3"`, Options{MaxVersion: 3}, ""},
		{"above the highest version", `"dtmi:dtdl:context;4"`, Options{MaxVersion: 3}, "disallowedContextVersion"},
		{"above every version", `"dtmi:dtdl:context;4"`, Options{MaxVersion: 9}, ""},
		{"all limits", onvif, Options{}, ""},
		{"these limits", onvif, Options{Limits: []string{"dtmi:dtdl:limits:onvif;1"}}, ""},
		{"these limits in all versions", onvif, Options{Limits: []string{"dtmi:dtdl:limits:onvif"}}, ""},
		{"other limits", onvif, Options{Limits: []string{"dtmi:dtdl:limits:aio"}}, "disallowedLimitContext"},
		{"no limits", onvif, Options{Limits: []string{}}, "disallowedLimitContext"},
		{"unknown in v2", `["dtmi:dtdl:context;2","dtmi:x:e;1"]`, Options{}, ""},
		{"unknown in v2, refused", `["dtmi:dtdl:context;2","dtmi:x:e;1"]`, Options{DisallowUndefinedExtensions: true, AllowUndefinedExtensions: true}, "unresolvableContextSpecifier"},
		{"unknown in v3", `["dtmi:dtdl:context;3","dtmi:x:e;1"]`, Options{}, "unresolvableContextSpecifier"},
		{"unknown in v3, allowed", `["dtmi:dtdl:context;3","dtmi:x:e;1"]`, Options{AllowUndefinedExtensions: true}, ""},
	} {
		_, err := Parse(with(c.context), c.o)
		var all *Errors
		got := ""
		if errors.As(err, &all) {
			got = all.List[0].Code()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q (%v)", c.name, got, c.want, err)
		}
	}
}
