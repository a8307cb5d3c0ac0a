package doc

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"regexp"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/dtdl"
)

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

// plant is a set with everything that a page shows, and with texts that want to be more than text.
const plant = `[{
	"@context": ["dtmi:dtdl:context;4", "dtmi:dtdl:extension:quantitativeTypes;3", "dtmi:dtdl:extension:requirement;2"],
	"@id": "dtmi:com:example:Asset;1", "@type": "Interface", "displayName": "<script>alert(1)</script>", "description": "\"><img src=x onerror=alert(2)>", "comment": "</style></script><!--",
	"schemas": [
		{"@id": "dtmi:com:example:Tree;1", "@type": "Object", "fields": [{"name": "value", "schema": "double"}, {"name": "next", "schema": {"@type": "Array", "elementSchema": "dtmi:com:example:Tree;1"}}]},
		{"@id": "dtmi:com:example:Mode;1", "@type": "Enum", "valueSchema": "integer", "enumValues": [{"name": "off", "enumValue": 0}, {"name": "on", "enumValue": 1, "description": "It runs | *well*."}]}],
	"contents": [
		{"@type": "Property", "name": "serial", "schema": "string", "writable": true, "description": "javascript:alert(3)"},
		{"@type": "Property", "name": "tags", "schema": {"@type": "Map", "mapKey": {"name": "k", "schema": "string"}, "mapValue": {"name": "v", "schema": "dtmi:com:example:Mode;1"}}},
		{"@type": ["Telemetry", "Power"], "name": "power", "schema": "double", "unit": "kilowatt"},
		{"@type": "Telemetry", "name": "tree", "schema": "dtmi:com:example:Tree;1"},
		{"@type": "Command", "name": "run", "request": {"name": "how", "nullable": true, "schema": {"@type": "Object", "fields": [{"@type": ["Field", "Required", "TimeSpan"], "name": "delay", "schema": "double", "unit": "second"}]}}, "response": {"name": "response", "schema": "boolean"}},
		{"@type": "Relationship", "name": "feeds", "target": "dtmi:com:example:Pump;1", "maxMultiplicity": 3, "properties": [{"@type": "Property", "name": "share", "schema": "double"}]},
		{"@type": "Relationship", "name": "elsewhere", "target": "dtmi:com:other:Thing;7", "minMultiplicity": 0}
	]},
	{"@context": "dtmi:dtdl:context;4", "@id": "dtmi:com:example:Motor;1", "@type": "Interface", "contents": [{"@type": "Telemetry", "name": "speed", "schema": "float"}]},
	{"@context": "dtmi:dtdl:context;4", "@id": "dtmi:com:example:Pump;1", "@type": "Interface", "extends": ["dtmi:com:example:Asset;1", "dtmi:com:example:Motor;1"],
	 "contents": [{"@type": "Component", "name": "seal", "schema": "dtmi:com:example:Alone;1"}]},
	{"@context": "dtmi:dtdl:context;4", "@id": "dtmi:com:example:Alone;1", "@type": "Interface"},
	{"@context": "dtmi:dtdl:context;4", "@id": "dtmi:com:example:Alone;2", "@type": "Interface"}]`

// The page is complete, links only to itself, and what a model says stays text.
func TestHTML(t *testing.T) {
	out, err := HTML(parse(t, plant), Options{Title: "Plant & Co", Intro: "All of it."})
	if err != nil {
		t.Fatal(err)
	}
	page := string(out)
	for _, want := range []string{
		"<title>Plant &amp; Co</title>", "All of it.", "<dd>5</dd><dt>interfaces</dt>", "<dd>1</dd><dt>command</dt>",
		`id="dtmi:com:example:Asset;1/serial"`, `<span class="flag">writable</span>`, `title="kilowatt">kW</a>`, "map of", "request, may be left away", "<code>how</code>",
		"3 inherited from Asset, Motor", "at most 3", `<code title="not in this set">dtmi:com:other:Thing;7</code>`, ">Alone;1<", ">Alone;2<", `id="unit/kilowatt"`, `id="dtmi:com:example:Tree;1"`,
		"It has no contents.", "Pump<tspan> &#43; Motor</tspan>", "&lt;script&gt;alert(1)", "It runs | *well*.",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	for _, bad := range []string{"<script>alert", "<img", "http://", "https://", `href="javascript`, " style=", "onclick", "ZgotmplZ"} {
		if strings.Contains(strings.ReplaceAll(page, `xmlns="http://www.w3.org/2000/svg"`, ""), bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if ids[html.UnescapeString(m[1])] {
			t.Errorf("the anchor %s is there twice", m[1])
		}
		ids[html.UnescapeString(m[1])] = true
	}
	links := regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(links) < 20 {
		t.Errorf("only %d links", len(links))
	}
	for _, m := range links {
		if to, ok := strings.CutPrefix(html.UnescapeString(m[1]), "#"); !ok || !ids[to] {
			t.Errorf("the link %s leads nowhere", m[1])
		}
	}
	if again, _ := HTML(parse(t, plant), Options{Title: "Plant & Co", Intro: "All of it."}); !bytes.Equal(out, again) {
		t.Error("the same set makes another page")
	}
}

// The policy allows exactly the style and the script that are there.
func TestPolicy(t *testing.T) {
	out, err := HTML(parse(t, plant), Options{})
	if err != nil {
		t.Fatal(err)
	}
	page := string(out)
	m := regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(page)
	if m == nil || strings.Index(page, m[0]) > strings.Index(page, "<style>") {
		t.Fatal("no policy stands before what it is about")
	}
	policy := html.UnescapeString(m[1])
	for _, tag := range []string{"style", "script"} {
		if n := strings.Count(page, "<"+tag+">"); n != 1 || strings.Count(page, "<"+tag) != 1 {
			t.Fatalf("%d elements %s", n, tag)
		}
		_, rest, _ := strings.Cut(page, "<"+tag+">")
		body, _, _ := strings.Cut(rest, "</"+tag+">")
		sum := sha256.Sum256([]byte(body))
		if !strings.Contains(policy, tag+"-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
			t.Errorf("the policy %s does not allow the %s", policy, tag)
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
		t.Errorf("the policy is %s", policy)
	}
}

// The drawing is XML, its boxes do not overlap, and everything is inside it.
func TestDiagram(t *testing.T) {
	var docs []string
	for i := range 60 { // a tree with several bases in places
		extends := ""
		switch {
		case i%7 == 3 && i > 10:
			extends = fmt.Sprintf(`,"extends":["dtmi:com:example:N%d;1","dtmi:com:example:N%d;1"]`, i/3, i/2)
		case i%5 != 0:
			extends = fmt.Sprintf(`,"extends":"dtmi:com:example:N%d;1"`, i/2)
		}
		docs = append(docs, fmt.Sprintf(`{"@context":"dtmi:dtdl:context;4","@id":"dtmi:com:example:N%d;1","@type":"Interface"%s}`, i, extends))
	}
	set := parse(t, docs...)
	p, err := build(set, Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := p.Diagram
	if len(d.Nodes) != 60 || len(d.Edges) < 40 {
		t.Fatalf("%d boxes, %d edges", len(d.Nodes), len(d.Edges))
	}
	for i, a := range d.Nodes {
		if a.X < 0 || a.Y < 0 || a.X+a.W > d.Width || a.Y+a.H > d.Height {
			t.Errorf("%s is outside", a.Text)
		}
		for _, b := range d.Nodes[:i] {
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%s stands on %s", a.Text, b.Text)
			}
		}
		for _, base := range a.bases {
			if base.column >= a.column {
				t.Errorf("%s is not behind its base %s", a.Text, base.Text)
			}
		}
	}
	page, err := HTML(set, Options{})
	if err != nil {
		t.Fatal(err)
	}
	from, to := bytes.Index(page, []byte("<svg")), bytes.Index(page, []byte("</svg>"))
	dec := xml.NewDecoder(bytes.NewReader(page[from : to+len("</svg>")]))
	for {
		if _, err := dec.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// The Markdown page has a row for each content, and text of a model makes no table, link or tag.
func TestMarkdown(t *testing.T) {
	out, err := Markdown(parse(t, plant), Options{Title: "Plant"})
	if err != nil {
		t.Fatal(err)
	}
	page := string(out)
	for _, want := range []string{
		"# Plant\n", "| [Asset](#asset) |", "| Property | `serial` | string, writable |", "| Telemetry | `power` | double, kW |", "| Command | `run` | request object of `delay` double s, response boolean |",
		"to [Pump](#pump), at most 3", "to `dtmi:com:other:Thing;7`", "From [Motor](#motor): `speed`.", "From [Asset](#asset): `serial`, `tags`, `power`", "## Schemas", "* `on` (`1`): It runs \\| \\*well\\*.",
		"map of [Mode](#mode)", "## Alone;1", "(#alone1)",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q in\n%s", want, page)
			break
		}
	}
	if strings.Contains(page, "<script") || strings.Contains(page, "<img") {
		t.Error("text of a model is HTML")
	}
}

// A set that is too large for a page is refused.
func TestBound(t *testing.T) {
	var contents []string
	for j := range 250 {
		contents = append(contents, fmt.Sprintf(`{"@type":"Telemetry","name":"a%d","schema":"byte"}`, j))
	}
	docs := []string{`{"@context":"dtmi:dtdl:context;4","@id":"dtmi:com:example:Base;1","@type":"Interface","contents":[` + strings.Join(contents, ",") + `]}`}
	for i := range MaxContents / 250 {
		docs = append(docs, fmt.Sprintf(`{"@context":"dtmi:dtdl:context;4","@id":"dtmi:com:example:N%d;1","@type":"Interface","extends":"dtmi:com:example:Base;1"}`, i))
	}
	if _, err := HTML(parse(t, docs...), Options{}); vaultmesh.KindOf(err) != vaultmesh.TooLarge {
		t.Errorf("error %v", err)
	}
}

// Any set that is valid has a page, which is text and has no script but its own.
func FuzzPages(f *testing.F) {
	f.Add([]byte(plant))
	f.Add([]byte(`{"@context":"dtmi:dtdl:context;2","@id":"dtmi:com:example:A;1","@type":"Interface","displayName":{"en":"x","fr":"<b>"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := dtdl.Parse([]dtdl.Document{{Name: "f", Data: data}}, dtdl.Options{AllowUndefinedExtensions: true, Partial: true})
		if err != nil {
			return
		}
		page, err := HTML(set, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Count(page, []byte("<script")) != 1 || bytes.Contains(page, []byte("ZgotmplZ")) {
			t.Fatalf("%s", page)
		}
		if _, err := Markdown(set, Options{}); err != nil {
			t.Fatal(err)
		}
	})
}
