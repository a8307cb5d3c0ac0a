package dtdl_test

import (
	"encoding/json"
	"errors"
	"fmt"

	"vaultmesh.org/vaultmesh/dtdl"
)

const machine = `{
  "@context": ["dtmi:dtdl:context;4", "dtmi:dtdl:extension:requirement;2"],
  "@id": "dtmi:com:example:Machine;1",
  "@type": "Interface",
  "contents": [
    { "@type": ["Property", "Required"], "name": "serial", "schema": "string" },
    { "@type": "Relationship", "name": "feeds", "target": "dtmi:com:example:Machine;1", "properties": [
      { "@type": "Property", "name": "since", "schema": "date" }
    ] }
  ]
}`

const mixer = `{
  "@context": ["dtmi:dtdl:context;4", "dtmi:dtdl:extension:quantitativeTypes;2"],
  "@id": "dtmi:com:example:Mixer;1",
  "@type": "Interface",
  "extends": "dtmi:com:example:Machine;1",
  "contents": [
    { "@type": ["Telemetry", "Temperature"], "name": "heat", "schema": "double", "unit": "degreeCelsius" },
    { "@type": "Property", "name": "mode", "writable": true, "schema": {
      "@type": "Enum", "valueSchema": "integer", "enumValues": [
        { "name": "off", "enumValue": 0 }, { "name": "on", "displayName": { "en": "On", "de": "Ein" }, "enumValue": 1 }
      ] } }
  ]
}`

func machines() *dtdl.Set {
	set, err := dtdl.Parse([]dtdl.Document{{Name: "machine.json", Data: []byte(machine)}, {Name: "mixer.json", Data: []byte(mixer)}}, dtdl.Options{})
	if err != nil {
		panic(err)
	}
	return set
}

// What an interface inherits is among its contents, and says where it comes from.
func ExampleInterface_Contents() {
	set := machines()
	model, _ := set.Interface("dtmi:com:example:Mixer;1")
	for _, c := range model.Contents() {
		fmt.Println(c.Class(), c.Name(), "of", c.DefinedIn().ID())
	}
	fmt.Println(set.IsA("dtmi:com:example:Mixer;1", "dtmi:com:example:Machine;1"))
	// Output:
	// Telemetry heat of dtmi:com:example:Mixer;1
	// Property mode of dtmi:com:example:Mixer;1
	// Property serial of dtmi:com:example:Machine;1
	// Relationship feeds of dtmi:com:example:Machine;1
	// true
}

// Every element has an identifier: where the document writes none, the language assigns one.
func ExampleSet_Lookup() {
	e, ok := machines().Lookup("dtmi:com:example:Mixer:_contents:__mode:_schema:_enumValues:__on;1")
	value := e.(*dtdl.EnumValue)
	fmt.Println(ok, value.Name(), value.DisplayName().In("de"), value.Assigned())
	// Output: true on Ein true
}

func ExampleElement_UnitInfo() {
	model, _ := machines().Interface("dtmi:com:example:Mixer;1")
	heat, _ := model.Telemetry("heat")
	unit, _ := heat.UnitInfo()
	fmt.Println(heat.SemanticType(), unit.Name(), unit.Symbol(), unit.Kind())
	// Output: Temperature degreeCelsius °C TemperatureUnit
}

// A state of a whole twin is validated at once. Faults collects everything; Validate stops at the first fault.
func ExampleInterface_Faults() {
	model, _ := machines().Interface("dtmi:com:example:Mixer;1")
	for _, f := range model.Faults(json.RawMessage(`{"heat": 1e400, "mode": 2, "colour": "red"}`)) {
		fmt.Printf("%s: %s\n", f.Path, f.Detail)
	}
	fmt.Println(model.Faults(json.RawMessage(`{"serial": "M-1", "heat": 71.5, "mode": 1}`)))
	// Output:
	// /heat: the number is outside the range
	// /mode: the value is not in the enum
	// : there is no property, telemetry or component "colour" in the model
	// : the required property "serial" is missing
	// []
}

func ExampleRelationship_Validate() {
	model, _ := machines().Interface("dtmi:com:example:Mixer;1")
	feeds, _ := model.Relationship("feeds")
	fmt.Println(feeds.Validate(json.RawMessage(`{"since": "2026-02-28"}`)))
	fmt.Println(feeds.Validate(json.RawMessage(`{"since": "2026-02-30"}`)))
	// Output:
	// <nil>
	// dtdl.validate relationship feeds at "/since": the string is not of that form (expected a date like "2026-01-31")
}

func ExampleSchema_JSONSchema() {
	model, _ := machines().Interface("dtmi:com:example:Mixer;1")
	mode, _ := model.Property("mode")
	fmt.Println(string(mode.Schema().JSONSchema()))
	// Output:
	// {
	//   "$id": "dtmi:com:example:Mixer:_contents:__mode:_schema;1",
	//   "$schema": "https://json-schema.org/draft/2020-12/schema",
	//   "enum": [
	//     0,
	//     1
	//   ]
	// }
}

// A resolver delivers what the documents refer to. CacheResolver spares it the second question.
func ExampleResolver() {
	library := map[string]string{"dtmi:com:example:Machine;1": machine}
	ask := func(missing []string) ([]dtdl.Document, error) {
		fmt.Println("asked for", missing)
		var docs []dtdl.Document
		for _, id := range missing {
			if text, ok := library[id]; ok {
				docs = append(docs, dtdl.Document{Name: id, Data: []byte(text)})
			}
		}
		return docs, nil
	}
	options := dtdl.Options{Resolver: dtdl.CacheResolver(ask, 1<<20)}
	for range 2 {
		set, err := dtdl.Parse([]dtdl.Document{{Name: "mixer.json", Data: []byte(mixer)}}, options)
		fmt.Println(set.Len(), err)
	}
	// Output:
	// asked for [dtmi:com:example:Machine;1]
	// 2 <nil>
	// 2 <nil>
}

// A partial set can do without what it refers to.
func ExampleSet_Unresolved() {
	set, err := dtdl.Parse([]dtdl.Document{{Name: "mixer.json", Data: []byte(mixer)}}, dtdl.Options{Partial: true})
	fmt.Println(set.Unresolved(), err)
	// Output: [dtmi:com:example:Machine;1] <nil>
}

// Errors are values: each has the validation identifier of the language's own parser, the element, and the
// place in the document.
func ExampleErrors() {
	_, err := dtdl.Parse([]dtdl.Document{{Name: "mixer.json", Data: []byte(mixer)}}, dtdl.Options{MaxVersion: 3})
	var all *dtdl.Errors
	if errors.As(err, &all) {
		for _, e := range all.List {
			fmt.Printf("%s:%d:%d %s %q\n%s\n%s\n", e.Document, e.Line, e.Column, e.ValidationID, e.Value, e.Detail, e.Hint)
		}
	}
	// Output:
	// mixer.json:2:16 dtmi:dtdl:parsingError:disallowedContextVersion "dtmi:dtdl:context;4"
	// "dtmi:dtdl:context;4" is above the highest version that is accepted
	// write @context for that version, or raise the option MaxVersion
}
