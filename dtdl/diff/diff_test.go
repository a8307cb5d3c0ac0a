package diff

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh/dtdl"
)

// document writes an interface "dtmi:com:example:<id>" with members beside contents.
func document(id, members, contents string) string {
	if members != "" {
		members += ","
	}
	return fmt.Sprintf(`{"@context":["dtmi:dtdl:context;4","dtmi:dtdl:extension:quantitativeTypes;2","dtmi:dtdl:extension:requirement;2"],
		"@id":"dtmi:com:example:%s","@type":"Interface",%s"contents":[%s]}`, id, members, contents)
}

func parse(t testing.TB, docs ...string) *dtdl.Set {
	t.Helper()
	var all []dtdl.Document
	for i, d := range docs {
		all = append(all, dtdl.Document{Name: fmt.Sprintf("%d.json", i), Data: []byte(d)})
	}
	set, err := dtdl.Parse(all, dtdl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// said writes changes as "kind element path RW", R where readers and W where writers are broken.
func said(r *Report) string {
	var rows []string
	for _, c := range r.Changes {
		row := strings.TrimSpace(string(c.Kind) + " " + c.Element)
		if c.Path != "" {
			row += " @" + c.Path
		}
		flags := ""
		if c.BreaksReaders {
			flags += "R"
		}
		if c.BreaksWriters {
			flags += "W"
		}
		rows = append(rows, strings.TrimSpace(row+" "+flags))
	}
	slices.Sort(rows)
	return strings.Join(rows, "\n")
}

const (
	fields   = `{"@type":"Object","fields":[%s]}`
	enum     = `{"@type":"Enum","valueSchema":"%s","enumValues":[%s]}`
	telem    = `{"@type":"Telemetry","name":"x","schema":%s}`
	prop     = `{"@type":"Property","name":"x","schema":%s}`
	required = `{"@type":["Property","Required"],"name":"x","schema":"double"}`
	optional = `{"@type":"Property","name":"x","schema":"double"}`
)

func object(f ...string) string {
	return fmt.Sprintf(telem, fmt.Sprintf(fields, strings.Join(f, ",")))
}
func enumOf(kind string, values ...string) string {
	return fmt.Sprintf(telem, fmt.Sprintf(enum, kind, strings.Join(values, ",")))
}
func value(name, v string) string { return fmt.Sprintf(`{"name":"%s","enumValue":%s}`, name, v) }
func command(payloads string) string {
	return `{"@type":"Command","name":"x"` + payloads + `}`
}
func payload(which, schema string, nullable bool) string {
	return fmt.Sprintf(`,"%s":{"name":"p","schema":"%s","nullable":%t}`, which, schema, nullable)
}
func relation(members string) string {
	return `{"@type":"Relationship","name":"x"` + members + `}`
}

// Every kind of change of a content, and whom it breaks.
func TestContents(t *testing.T) {
	for name, x := range map[string]struct{ old, now, want string }{
		"nothing": {optional, optional, ""},

		"property added":           {"", optional, "added Property x"},
		"required property added":  {"", required, "added Property x W"},
		"property removed":         {optional, "", "removed Property x RW"},
		"telemetry added":          {"", object(), "added Telemetry x"},
		"command added":            {"", command(""), "added Command x"},
		"command removed":          {command(""), "", "removed Command x RW"},
		"relationship added":       {"", relation(""), "added Relationship x"},
		"relationship removed":     {relation(""), "", "removed Relationship x RW"},
		"class":                    {optional, fmt.Sprintf(telem, `"double"`), "changed Property x RW"},
		"property becomes needed":  {optional, required, "narrowed Property x @required W"},
		"property becomes free":    {required, optional, "widened Property x @required R"},
		"property becomes fixed":   {strings.Replace(optional, `"name"`, `"writable":true,"name"`, 1), optional, "narrowed Property x @writable W"},
		"property becomes movable": {optional, strings.Replace(optional, `"name"`, `"writable":true,"name"`, 1), "widened Property x @writable"},

		"integer to long":         {fmt.Sprintf(prop, `"integer"`), fmt.Sprintf(prop, `"long"`), "widened Property x @schema R"},
		"long to integer":         {fmt.Sprintf(prop, `"long"`), fmt.Sprintf(prop, `"integer"`), "narrowed Property x @schema W"},
		"integer to double":       {fmt.Sprintf(prop, `"integer"`), fmt.Sprintf(prop, `"double"`), "widened Property x @schema R"},
		"integer to float":        {fmt.Sprintf(prop, `"integer"`), fmt.Sprintf(prop, `"float"`), "changed Property x @schema RW"},
		"short to float":          {fmt.Sprintf(prop, `"short"`), fmt.Sprintf(prop, `"float"`), "widened Property x @schema R"},
		"long to double":          {fmt.Sprintf(prop, `"long"`), fmt.Sprintf(prop, `"double"`), "changed Property x @schema RW"},
		"float to double":         {fmt.Sprintf(prop, `"float"`), fmt.Sprintf(prop, `"double"`), "widened Property x @schema R"},
		"double to float":         {fmt.Sprintf(prop, `"double"`), fmt.Sprintf(prop, `"float"`), "narrowed Property x @schema W"},
		"signs":                   {fmt.Sprintf(prop, `"byte"`), fmt.Sprintf(prop, `"unsignedLong"`), "changed Property x @schema RW"},
		"unsigned into signed":    {fmt.Sprintf(prop, `"unsignedByte"`), fmt.Sprintf(prop, `"short"`), "widened Property x @schema R"},
		"unsigned of equal width": {fmt.Sprintf(prop, `"unsignedLong"`), fmt.Sprintf(prop, `"long"`), "changed Property x @schema RW"},
		"string to uuid":          {fmt.Sprintf(prop, `"string"`), fmt.Sprintf(prop, `"uuid"`), "narrowed Property x @schema W"},
		"date to string":          {fmt.Sprintf(prop, `"date"`), fmt.Sprintf(prop, `"string"`), "widened Property x @schema R"},
		"decimal to double":       {fmt.Sprintf(prop, `"decimal"`), fmt.Sprintf(prop, `"double"`), "changed Property x @schema RW"},
		"boolean to string":       {fmt.Sprintf(prop, `"boolean"`), fmt.Sprintf(prop, `"string"`), "changed Property x @schema RW"},
		"point to line":           {fmt.Sprintf(prop, `"point"`), fmt.Sprintf(prop, `"lineString"`), "changed Property x @schema RW"},
		"double to array":         {fmt.Sprintf(telem, `"double"`), fmt.Sprintf(telem, `{"@type":"Array","elementSchema":"double"}`), "changed Telemetry x @schema RW"},
		"elements": {fmt.Sprintf(telem, `{"@type":"Array","elementSchema":"short"}`), fmt.Sprintf(telem, `{"@type":"Array","elementSchema":"integer"}`),
			"widened Telemetry x @schema/elementSchema R"},
		"map values": {fmt.Sprintf(telem, `{"@type":"Map","mapKey":{"name":"k","schema":"string"},"mapValue":{"name":"v","schema":"double"}}`),
			fmt.Sprintf(telem, `{"@type":"Map","mapKey":{"name":"k","schema":"string"},"mapValue":{"name":"v","schema":"float"}}`), "narrowed Telemetry x @schema/mapValue W"},

		"field added":         {object(), object(`{"name":"f","schema":"double"}`), "added Telemetry x @schema/fields/f"},
		"needed field added":  {object(), object(`{"@type":["Field","Required"],"name":"f","schema":"double"}`), "added Telemetry x @schema/fields/f W"},
		"field removed":       {object(`{"name":"f","schema":"double"}`), object(), "removed Telemetry x @schema/fields/f RW"},
		"field becomes free":  {object(`{"@type":["Field","Required"],"name":"f","schema":"double"}`), object(`{"name":"f","schema":"double"}`), "widened Telemetry x @schema/fields/f/required R"},
		"field becomes needy": {object(`{"name":"f","schema":"double"}`), object(`{"@type":["Field","Required"],"name":"f","schema":"double"}`), "narrowed Telemetry x @schema/fields/f/required W"},
		"field's unit": {object(`{"@type":["Field","Power"],"name":"f","schema":"double","unit":"watt"}`), object(`{"@type":["Field","Power"],"name":"f","schema":"double","unit":"kilowatt"}`),
			"changed Telemetry x @schema/fields/f/unit RW"},
		"field within field": {object(`{"name":"f","schema":{"@type":"Object","fields":[{"name":"g","schema":"byte"}]}}`), object(`{"name":"f","schema":{"@type":"Object","fields":[{"name":"g","schema":"short"}]}}`),
			"widened Telemetry x @schema/fields/f/schema/fields/g/schema R"},

		"value added":         {enumOf("integer", value("a", "1")), enumOf("integer", value("a", "1"), value("b", "2")), "widened Telemetry x @schema/enumValues/b R"},
		"value removed":       {enumOf("string", value("a", `"1"`), value("b", `"2"`)), enumOf("string", value("a", `"1"`)), "narrowed Telemetry x @schema/enumValues/b W"},
		"value renamed":       {enumOf("integer", value("a", "1")), enumOf("integer", value("b", "1")), "noted Telemetry x @schema/enumValues/a"},
		"value moved":         {enumOf("integer", value("a", "1")), enumOf("integer", value("a", "2")), "narrowed Telemetry x @schema/enumValues/a W\nwidened Telemetry x @schema/enumValues/a R"},
		"values' kind":        {enumOf("integer", value("a", "1")), enumOf("string", value("a", `"1"`)), "changed Telemetry x @schema/valueSchema RW"},
		"enum to string":      {enumOf("string", value("a", `"1"`)), fmt.Sprintf(telem, `"string"`), "widened Telemetry x @schema R"},
		"integer to enum":     {fmt.Sprintf(telem, `"integer"`), enumOf("integer", value("a", "1")), "narrowed Telemetry x @schema W"},
		"enum to byte":        {enumOf("integer", value("a", "127")), fmt.Sprintf(telem, `"byte"`), "widened Telemetry x @schema R"},
		"enum out of a byte":  {enumOf("integer", value("a", "128")), fmt.Sprintf(telem, `"byte"`), "changed Telemetry x @schema RW"},
		"string enum to int":  {enumOf("string", value("a", `"1"`)), fmt.Sprintf(telem, `"integer"`), "changed Telemetry x @schema RW"},
		"unit said":           {fmt.Sprintf(telem, `"double"`), `{"@type":["Telemetry","Power"],"name":"x","schema":"double","unit":"watt"}`, "noted Telemetry x @@type\nnoted Telemetry x @unit"},
		"unit changed":        {`{"@type":["Telemetry","Power"],"name":"x","schema":"double","unit":"watt"}`, `{"@type":["Telemetry","Power"],"name":"x","schema":"double","unit":"megawatt"}`, "changed Telemetry x @unit RW"},
		"unit not said":       {`{"@type":["Telemetry","Power"],"name":"x","schema":"double","unit":"watt"}`, fmt.Sprintf(telem, `"double"`), "changed Telemetry x @unit R\nnoted Telemetry x @@type"},
		"texts":               {optional, strings.Replace(optional, `"name"`, `"displayName":"X","description":{"en":"a","fr":"b"},"comment":"c","name"`, 1), "noted Property x @comment\nnoted Property x @description\nnoted Property x @displayName"},
		"request asked":       {command(""), command(payload("request", "double", false)), "narrowed Command x @request W"},
		"request offered":     {command(""), command(payload("request", "double", true)), "widened Command x @request"},
		"request gone":        {command(payload("request", "double", false)), command(""), "removed Command x @request RW"},
		"request narrowed":    {command(payload("request", "double", true)), command(payload("request", "float", false)), "narrowed Command x @request/nullable W\nnarrowed Command x @request/schema W"},
		"request widened":     {command(payload("request", "float", false)), command(payload("request", "double", true)), "widened Command x @request/nullable R\nwidened Command x @request/schema R"},
		"response added":      {command(""), command(payload("response", "double", false)), "added Command x @response"},
		"response gone":       {command(payload("response", "double", false)), command(""), "removed Command x @response RW"},
		"response widened":    {command(payload("response", "byte", false)), command(payload("response", "short", false)), "widened Command x @response/schema R"},
		"target set":          {relation(""), relation(`,"target":"dtmi:com:example:Base;1"`), "narrowed Relationship x @target W"},
		"target freed":        {relation(`,"target":"dtmi:com:example:Base;1"`), relation(""), "widened Relationship x @target R"},
		"target narrowed":     {relation(`,"target":"dtmi:com:example:Base;1"`), relation(`,"target":"dtmi:com:example:Heir;1"`), "narrowed Relationship x @target W"},
		"target widened":      {relation(`,"target":"dtmi:com:example:Heir;1"`), relation(`,"target":"dtmi:com:example:Base;1"`), "widened Relationship x @target R"},
		"target elsewhere":    {relation(`,"target":"dtmi:com:example:Heir;1"`), relation(`,"target":"dtmi:com:example:Other;1"`), "changed Relationship x @target RW"},
		"fewer links":         {relation(""), relation(`,"maxMultiplicity":2`), "narrowed Relationship x @maxMultiplicity W"},
		"more links":          {relation(`,"maxMultiplicity":2`), relation(`,"maxMultiplicity":3`), "widened Relationship x @maxMultiplicity R"},
		"any number of links": {relation(`,"maxMultiplicity":2`), relation(""), "widened Relationship x @maxMultiplicity R"},
		"link needed":         {relation(`,"minMultiplicity":0`), relation(`,"minMultiplicity":0,"maxMultiplicity":1`), "narrowed Relationship x @maxMultiplicity W"},
		"link's property": {relation(`,"properties":[{"@type":"Property","name":"a","schema":"byte"},{"@type":"Property","name":"b","schema":"byte"}]`),
			relation(`,"properties":[{"@type":"Property","name":"a","schema":"short"},{"@type":["Property","Required"],"name":"c","schema":"byte"},{"@type":"Property","name":"d","schema":"byte"}]`),
			"added Relationship x @properties/c W\nadded Relationship x @properties/d\nremoved Relationship x @properties/b RW\nwidened Relationship x @properties/a/schema R"},
		"component narrowed":  {component("Base"), component("Heir"), "narrowed Component x @schema W"},
		"component widened":   {component("Heir"), component("Base"), "widened Component x @schema R"},
		"component elsewhere": {component("Base"), component("Other"), "changed Component x @schema RW"},
	} {
		t.Run(name, func(t *testing.T) {
			around := []string{document("Base;1", "", ""), document("Heir;1", `"extends":"dtmi:com:example:Base;1"`, ""), document("Other;1", "", "")}
			r := Compare(parse(t, append(around, document("X;1", "", x.old))...), parse(t, append(around, document("X;1", "", x.now))...))
			if got := said(r); got != x.want {
				t.Errorf("got\n%s\nwant\n%s", got, x.want)
			}
			if want := strings.HasSuffix(x.want, "R") || strings.HasSuffix(x.want, "W") || strings.Contains(x.want, "R\n") || strings.Contains(x.want, "W\n"); r.Breaking != want {
				t.Errorf("breaking is %v", r.Breaking)
			}
			for _, c := range r.Changes {
				if c.What == "" || c.Why == "" || c.Interface != "dtmi:com:example:X;1" {
					t.Errorf("%+v does not explain itself", c)
				}
			}
		})
	}
}

func component(of string) string {
	return `{"@type":"Component","name":"x","schema":"dtmi:com:example:` + of + `;1"}`
}

// Changes of whole interfaces, of what they extend, of their versions and of schemas that have identifiers.
func TestInterfaces(t *testing.T) {
	x := fmt.Sprintf(telem, `"integer"`)
	wide := fmt.Sprintf(telem, `"long"`)
	named := func(schema string) string {
		return `"schemas":[{"@id":"dtmi:com:example:Kind;1","@type":"Enum","valueSchema":"integer","enumValues":[` + schema + `]}]`
	}
	using := `{"@type":"Telemetry","name":"a","schema":"dtmi:com:example:Kind;1"},{"@type":"Telemetry","name":"b","schema":"dtmi:com:example:Kind;1"}`
	extends := func(id string) string { return `"extends":"dtmi:com:example:` + id + `"` }
	for name, c := range map[string]struct {
		old, now     []string
		want, advice string
	}{
		"added":            {[]string{document("A;1", "", "")}, []string{document("A;1", "", ""), document("B;1", "", x)}, "added", ""},
		"removed":          {[]string{document("A;1", "", ""), document("B;1", "", x)}, []string{document("A;1", "", "")}, "removed RW", ""},
		"a major version":  {[]string{document("A;1", "", x)}, []string{document("A;2", "", wide)}, "noted @@id\nwidened Telemetry x @schema R", ""},
		"a minor one":      {[]string{document("A;1", "", x)}, []string{document("A;1.1", "", wide)}, "noted @@id\nwidened Telemetry x @schema R", "dtmi:com:example:A;2"},
		"the same one":     {[]string{document("A;1", "", x)}, []string{document("A;1", "", wide)}, "widened Telemetry x @schema R", "dtmi:com:example:A;2"},
		"compatibly":       {[]string{document("A;1", "", "")}, []string{document("A;1", "", x)}, "added Telemetry x", "dtmi:com:example:A;1.1"},
		"more compatibly":  {[]string{document("A;1.4", "", "")}, []string{document("A;1.4", "", x)}, "added Telemetry x", "dtmi:com:example:A;1.5"},
		"well":             {[]string{document("A;1", "", "")}, []string{document("A;1.1", "", x)}, "added Telemetry x\nnoted @@id", ""},
		"beside the old":   {[]string{document("A;1", "", x)}, []string{document("A;1", "", x), document("A;2", "", wide)}, "added", ""},
		"newest goes on":   {[]string{document("A;1", "", x), document("A;2", "", x)}, []string{document("A;3", "", x)}, "noted @@id\nremoved RW", ""},
		"said of the base": {[]string{document("A;1", "", x), document("B;1", extends("A;1"), "")}, []string{document("A;1", "", wide), document("B;1", extends("A;1"), "")}, "widened Telemetry x @schema R", "dtmi:com:example:A;2"},
		"gone from base":   {[]string{document("A;1", "", x), document("B;1", extends("A;1"), "")}, []string{document("A;1", "", ""), document("B;1", extends("A;1"), "")}, "removed Telemetry x RW", "dtmi:com:example:A;2"},
		"new in base":      {[]string{document("A;1", "", ""), document("B;1", extends("A;1"), "")}, []string{document("A;1", "", x), document("B;1", extends("A;1"), "")}, "added Telemetry x", "dtmi:com:example:A;1.1"},
		"base lost":        {[]string{document("A;1", "", x), document("B;1", extends("A;1"), "")}, []string{document("A;1", "", x), document("B;1", "", "")}, "removed @extends RW\nremoved Telemetry x RW", "dtmi:com:example:B;2"},
		"base gained":      {[]string{document("A;1", "", x), document("B;1", "", "")}, []string{document("A;1", "", x), document("B;1", extends("A;1"), "")}, "added @extends\nadded Telemetry x", "dtmi:com:example:B;1.1"},
		"between":          {[]string{document("A;1", "", x), document("B;1", extends("A;1"), "")}, []string{document("A;1", "", x), document("M;1", extends("A;1"), ""), document("B;1", extends("M;1"), "")}, "added\nadded @extends", "dtmi:com:example:B;1.1"},
		"base renewed":     {[]string{document("A;1", "", x), document("B;1", extends("A;1"), "")}, []string{document("A;2", "", x), document("B;1", extends("A;2"), "")}, "noted @@id", ""},
		"moved up":         {[]string{document("A;1", "", ""), document("B;1", extends("A;1"), x)}, []string{document("A;1", "", x), document("B;1", extends("A;1"), "")}, "added Telemetry x", "dtmi:com:example:A;1.1"},
		"a named schema": {[]string{document("A;1", named(value("p", "1")), using)}, []string{document("A;1", named(value("p", "1")+","+value("q", "2")), using)},
			"widened Schema dtmi:com:example:Kind;1 @enumValues/q R", "dtmi:com:example:A;2"},
		"twice the same": {[]string{document("A;1", "", `{"@type":"Telemetry","name":"a","schema":"byte"},{"@type":"Telemetry","name":"b","schema":"byte"}`)},
			[]string{document("A;1", "", `{"@type":"Telemetry","name":"a","schema":"short"},{"@type":"Telemetry","name":"b","schema":"short"}`)},
			"widened Telemetry a @schema R\nwidened Telemetry b @schema R", "dtmi:com:example:A;2"},
		"the language": {[]string{`{"@context":"dtmi:dtdl:context;2","@id":"dtmi:com:example:A;1","@type":"Interface","contents":[` + x + `]}`}, []string{document("A;1", "", x)}, "noted @@context", "dtmi:com:example:A;1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Compare(parse(t, c.old...), parse(t, c.now...))
			if got := said(r); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			var advice []string
			for _, a := range r.Advice {
				advice = append(advice, a.Want)
			}
			if got := strings.Join(advice, "\n"); got != c.advice {
				t.Errorf("advice %q, want %q", got, c.advice)
			}
		})
	}
}

// A schema that contains itself ends.
func TestRecursion(t *testing.T) {
	tree := func(schema string) string {
		return document("A;1", `"schemas":[{"@id":"dtmi:com:example:Tree;1","@type":"Object","fields":[{"name":"v","schema":"`+schema+`"},{"name":"next","schema":{"@type":"Array","elementSchema":"dtmi:com:example:Tree;1"}}]}]`,
			`{"@type":"Telemetry","name":"x","schema":"dtmi:com:example:Tree;1"}`)
	}
	r := Compare(parse(t, tree("byte")), parse(t, tree("short")))
	if got, want := said(r), "widened Schema dtmi:com:example:Tree;1 @fields/v/schema R"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// More changes than a report takes are counted, and still break.
func TestBound(t *testing.T) {
	var olds, news []string
	for i := range 40 {
		var a, b []string
		for j := range 290 {
			a = append(a, fmt.Sprintf(`{"@type":"Telemetry","name":"a%d","schema":"byte"}`, j))
			b = append(b, fmt.Sprintf(`{"@type":"Telemetry","name":"a%d","schema":"short"}`, j))
		}
		olds, news = append(olds, document(fmt.Sprintf("A%d;1", i), "", strings.Join(a, ","))), append(news, document(fmt.Sprintf("A%d;1", i), "", strings.Join(b, ",")))
	}
	r := Compare(parse(t, olds...), parse(t, news...))
	if len(r.Changes) != MaxChanges || r.Omitted != 40*290-MaxChanges || !r.Breaking || len(r.Advice) != 40 {
		t.Errorf("%d changes, %d omitted, breaking %v, %d advised", len(r.Changes), r.Omitted, r.Breaking, len(r.Advice))
	}
}

// Any two sets can be compared, a set differs from itself in nothing, and what breaks in one direction does so for
// the other party in the other direction.
func FuzzCompare(f *testing.F) {
	f.Add([]byte(document("A;1", "", optional)), []byte(document("A;1", "", required)))
	f.Add([]byte(document("A;1", "", object(`{"name":"f","schema":"double"}`))), []byte(document("A;2", "", enumOf("integer", value("a", "1")))))
	f.Add([]byte(document("A;1", `"extends":"dtmi:com:example:B;1"`, relation(""))), []byte("["+document("B;1", "", command(""))+"]"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		o := dtdl.Options{AllowUndefinedExtensions: true, Partial: true}
		old, err := dtdl.Parse([]dtdl.Document{{Name: "a", Data: a}}, o)
		if err != nil {
			return
		}
		if r := Compare(old, old); len(r.Changes) != 0 {
			t.Fatalf("it differs from itself: %s", said(r))
		}
		now, err := dtdl.Parse([]dtdl.Document{{Name: "b", Data: b}}, o)
		if err != nil {
			return
		}
		there, back := Compare(old, now), Compare(now, old)
		if len(there.Changes) == 0 != (len(back.Changes) == 0) {
			t.Fatalf("there:\n%s\nback:\n%s", said(there), said(back))
		}
		if _, err := json.Marshal(there); err != nil {
			t.Fatal(err)
		}
	})
}
