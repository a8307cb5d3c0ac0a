package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh/dtdl"
)

const pump = `{
  "@context": "dtmi:dtdl:context;4",
  "@id": "dtmi:com:example:Pump;1",
  "@type": "Interface",
  "contents": [
    { "@type": "Telemetry", "name": "flow", "schema": "double" }
  ]
}
`

func models(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// vaultmeshDTDL runs a command and returns its status and what it wrote.
func vaultmeshDTDL(args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = run(append([]string{"dtdl"}, args...), &o, &e)
	return code, o.String(), e.String()
}

func TestDTDLCheckStatus(t *testing.T) {
	dir := models(t, map[string]string{
		"good/pump.json": pump, "good/sub/heir.JSON": strings.Replace(strings.Replace(pump, "Pump", "Heir", 1), `"contents": [`, `"extends": "dtmi:com:example:Pump;1", "contents": [`, 1),
		"good/.git/no.json": "{", "good/readme.txt": "{",
		"bad/pump.json": strings.Replace(pump, `"double"`, `"doubel"`, 1), "old/pump.json": strings.Replace(pump, "context;4", "context;3", 1),
		"empty/readme.txt": "", "heir.json": strings.Replace(pump, `"contents": [`, `"extends": "dtmi:com:example:Nowhere;1", "contents": [`, 1),
		"foreign.json": strings.Replace(pump, `"dtmi:dtdl:context;4"`, `["dtmi:dtdl:context;4", "dtmi:com:example:extension;1"]`, 1),
	})
	at := func(p string) string { return filepath.Join(dir, p) }
	if err := os.Truncate(at("empty/readme.txt"), dtdl.MaxDocumentBytes+1); err != nil {
		t.Fatal(err)
	}
	// The heir's telemetry has the name of its base's: that is an error of the set as a whole.
	for name, x := range map[string]struct {
		args []string
		code int
		says string
	}{
		"a file":                    {[]string{at("good/pump.json")}, 0, "valid: 1 interface in 1 file"},
		"the same twice":            {[]string{at("good/pump.json"), dir + "/good/../good/pump.json"}, 0, "valid: 1 interface in 1 file"},
		"one set":                   {[]string{at("good")}, 1, "invalid: "},
		"an invalid one":            {[]string{at("bad")}, 1, `"schema" is "doubel"`},
		"a reference to nothing":    {[]string{at("heir.json")}, 1, "Nowhere"},
		"below the maximum version": {[]string{at("old"), "--max-version", "3"}, 0, "valid"},
		"above the maximum version": {[]string{at("good/pump.json"), "--max-version", "3"}, 1, "pump.json:2"},
		"an unknown extension":      {[]string{at("foreign.json")}, 1, "extension;1"},
		"which is allowed":          {[]string{at("foreign.json"), "--allow-undefined-extensions"}, 0, "valid"},
		"which is disallowed":       {[]string{at("foreign.json"), "--disallow-undefined-extensions"}, 1, "extension;1"},
		"both":                      {[]string{at("foreign.json"), "--allow-undefined-extensions", "--disallow-undefined-extensions"}, 2, ""},
		"no such version":           {[]string{at("old"), "--max-version", "5"}, 2, "2, 3 or 4"},
		"no such file":              {[]string{at("none.json")}, 2, "none.json"},
		"no models":                 {[]string{at("empty")}, 2, "no file below"},
		"a file that is too large":  {[]string{at("empty/readme.txt")}, 2, "16 MiB"},
		"nothing":                   {nil, 2, "no file is named"},
		"batch with files":          {[]string{"--batch", at("good")}, 2, "--batch"},
	} {
		code, out, errOut := vaultmeshDTDL(append([]string{"check"}, x.args...)...)
		if code != x.code || !strings.Contains(out+errOut, x.says) {
			t.Errorf("%s: status %d, want %d: %s%s", name, code, x.code, out, errOut)
		}
	}
}

// What people read: the place, the line with a mark below the fault, what is wanted, and no control characters of
// the model.
func TestDTDLCheckText(t *testing.T) {
	dir := models(t, map[string]string{"pump.json": strings.Replace(strings.Replace(pump, `"double"`, `"doubel"`, 1), `"flow"`, `"fl\u001bow ü"`, 1), "x.json": "[\n\t\"\x1b[31m\xff\""})
	t.Setenv("COLUMNS", "72")
	code, out, _ := vaultmeshDTDL("check", dir)
	if code != 1 {
		t.Fatalf("status %d: %s", code, out)
	}
	for _, want := range []string{"/pump.json:6:", "    6 |", "^^^^^^^^", "hint      write \"double\"", "rule      dtmi:dtdl:parsingError:badDtmiOrTerm", "/x.json:2:", "in 2 of 2 files"} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
	rows := strings.Split(out, "\n")
	var marked []string
	for i, row := range rows {
		if strings.ContainsAny(row, "\x1b\r\t") {
			t.Errorf("line %q acts on a terminal", row)
		}
		if mark := strings.Index(row, "^^^^^^^^"); mark > 0 {
			marked = append(marked, string([]rune(rows[i-1])[mark:mark+strings.Count(row, "^")]))
		}
		if strings.Contains(row, " | ") && cells(row) > 72 {
			t.Errorf("line %q is wider than the terminal", row)
		}
	}
	if want := `["\"fl\\u001bow ü\"" "\"schema\"" "\"schema\""]`; fmt.Sprintf("%q", marked) != want {
		t.Errorf("the marks are below %q, want %s", marked, want)
	}
}

func TestDTDLCheckJSON(t *testing.T) {
	dir := models(t, map[string]string{"bad.json": strings.Replace(pump, `"double"`, `"doubel"`, 1), "good.json": pump})
	for name, x := range map[string]struct {
		file string
		code int
	}{"valid": {"good.json", 0}, "invalid": {"bad.json", 1}, "unusable": {"none.json", 2}} {
		code, out, _ := vaultmeshDTDL("check", "--json", filepath.Join(dir, x.file))
		var v struct {
			Valid  *bool
			Errors *[]struct {
				ValidationID, PrimaryID, Value, File, Message string
				Line                                          int
			}
			Error string
		}
		if err := json.Unmarshal([]byte(out), &v); err != nil || v.Valid == nil || v.Errors == nil || strings.Count(out, "\n") != 1 {
			t.Fatalf("%s: %v in %s", name, err, out)
		}
		if code != x.code || *v.Valid != (x.code == 0) || (v.Error != "") != (x.code == 2) || (len(*v.Errors) > 0) != (x.code == 1) {
			t.Errorf("%s: status %d, %s", name, code, out)
		}
		if x.code == 1 {
			e := (*v.Errors)[0]
			if e.ValidationID != "dtmi:dtdl:parsingError:badDtmiOrTerm" || e.PrimaryID != "dtmi:com:example:Pump:_contents:__flow;1" || e.Value != "doubel" || e.Line != 6 || !strings.HasSuffix(e.File, "bad.json") || e.Message == "" {
				t.Errorf("%+v", e)
			}
		}
	}
}

// Every line is answered by one, whatever it is.
func TestDTDLBatch(t *testing.T) {
	line := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	bad := strings.Replace(pump, `"double"`, `"doubel"`, 1)
	in := strings.Join([]string{"[" + line(pump) + "]", "[" + line(bad) + "]", "{", "", "[" + strings.Repeat(" ", 2000) + "]", "\xff\x00", "[" + line(pump) + "," + line(pump) + "]", "[" + line(pump) + "]"}, "\n")
	var out bytes.Buffer
	err := checkBatch(&out, strings.NewReader(in), dtdl.Options{}, 1000)
	if err != error(status(2)) {
		t.Errorf("%v, want status 2", err)
	}
	var got []string
	dec := json.NewDecoder(&out)
	for dec.More() {
		var v verdict
		if err := dec.Decode(&v); err != nil {
			t.Fatal(err)
		}
		switch {
		case v.Valid && len(v.Errors) == 0 && v.Error == "":
			got = append(got, "valid")
		case !v.Valid && v.Error != "" && len(v.Errors) == 0:
			got = append(got, "unusable")
		case !v.Valid && len(v.Errors) > 0:
			got = append(got, "invalid")
		}
	}
	if want := "valid invalid invalid unusable unusable invalid invalid valid"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	for in, want := range map[string]error{"": nil, "[" + line(pump) + "]\n": nil, "[" + line(bad) + "]": status(1)} {
		if err := checkBatch(&out, strings.NewReader(in), dtdl.Options{}, 1000); err != want {
			t.Errorf("%q: %v, want %v", in, err, want)
		}
	}
}

func FuzzDTDLBatch(f *testing.F) {
	f.Add([]byte("[]\n{\n\n"))
	f.Add([]byte("[" + strings.Join(strings.Fields(pump), " ") + "]\n" + strings.Repeat("x", 300) + "\n[]"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		_ = checkBatch(&out, bytes.NewReader(in), dtdl.Options{}, 200)
		want := bytes.Count(in, []byte("\n"))
		if len(in) > 0 && in[len(in)-1] != '\n' {
			want++
		}
		if got := bytes.Count(out.Bytes(), []byte("\n")); got != want {
			t.Fatalf("%d lines were answered by %d", want, got)
		}
	})
}

func FuzzScreen(f *testing.F) {
	f.Add([]byte("{\n \"a\": \"b\"\n"), 2, 7, 40)
	f.Add([]byte("\x1b[2J\xff\"\\"), 1, 6, 80)
	f.Fuzz(func(t *testing.T, data []byte, line, column, width int) {
		var out bytes.Buffer
		s := screen{w: &out, width: max(leastWidth, min(mostWidth, width))}
		s.source(data, line, column)
		for _, row := range strings.Split(out.String(), "\n") {
			if cells(row) > s.width+1 || strings.ContainsAny(row, "\x1b\r\t\x00") {
				t.Fatalf("%q in %d columns", row, s.width)
			}
		}
	})
}

func TestDTDLDiff(t *testing.T) {
	dir := models(t, map[string]string{
		"old/pump.json": pump, "same.json": pump, "more.json": strings.Replace(pump, "  ]", `, { "@type": "Telemetry", "name": "heat", "schema": "double" } ]`, 1),
		"less.json": strings.Replace(pump, `"double"`, `"float"`, 1), "bad.json": "{",
	})
	at := func(p string) string { return filepath.Join(dir, p) }
	for name, x := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"the same":   {[]string{at("old"), at("same.json")}, 0, []string{"nothing differs"}},
		"compatible": {[]string{at("old"), at("more.json")}, 0, []string{"added", "Telemetry heat", "breaks nobody", "Pump;1.1", "none of which breaks"}},
		"breaking":   {[]string{at("old"), at("less.json")}, 1, []string{"! narrowed", "double has become float", "breaks writers", "Pump;2", "breaking for writers: 1 of 1 change"}},
		"as JSON":    {[]string{at("old"), at("less.json"), "--json"}, 1, []string{`"breaking":true`, `"breaksReaders":false`, `"kind":"narrowed"`, `"element":"Telemetry flow"`}},
		"unusable":   {[]string{at("old"), at("bad.json")}, 2, []string{"bad.json:1:"}},
		"unread":     {[]string{at("none"), at("old")}, 2, []string{"none"}},
		"bad JSON":   {[]string{at("bad.json"), at("old"), "--json"}, 2, []string{`"set":"old"`, `"valid":false`}},
	} {
		code, out, errOut := vaultmeshDTDL(append([]string{"diff"}, x.args...)...)
		for _, want := range x.says {
			if code != x.code || !strings.Contains(out+errOut, want) {
				t.Errorf("%s: status %d, want %d and %q: %s%s", name, code, x.code, want, out, errOut)
			}
		}
	}
}

func TestDTDLDoc(t *testing.T) {
	dir := models(t, map[string]string{"pump.json": pump, "bad.json": "{"})
	at := func(p string) string { return filepath.Join(dir, p) }
	for name, x := range map[string]struct {
		args  []string
		code  int
		file  string
		holds string
	}{
		"a file":   {[]string{at("pump.json"), "-o", at("page.html"), "--title", "Pumps"}, 0, "page.html", "<title>Pumps</title>"},
		"a folder": {[]string{at("pump.json"), "-o", at("site")}, 0, "site/index.html", "dtmi:com:example:Pump;1"},
		"Markdown": {[]string{at("pump.json"), "-o", at("page.md"), "--json"}, 0, "page.md", "## Pump"},
		"invalid":  {[]string{at("bad.json"), "-o", at("no.html")}, 2, "", ""},
		"nowhere":  {[]string{at("pump.json"), "-o", at("pump.json/x.html")}, 2, "", ""},
	} {
		code, out, errOut := vaultmeshDTDL(append([]string{"doc"}, x.args...)...)
		if code != x.code {
			t.Errorf("%s: status %d, want %d: %s%s", name, code, x.code, out, errOut)
			continue
		}
		if x.file == "" {
			continue
		}
		if b, err := os.ReadFile(at(x.file)); err != nil || !strings.Contains(string(b), x.holds) || !strings.Contains(out, x.file) {
			t.Errorf("%s: %v, said %s", name, err, out)
		}
	}
	if _, err := os.Stat(at("no.html")); err == nil {
		t.Error("a page of an invalid set was written")
	}
}

// The starter is valid under any name that it takes, in every part commented, and overwrites nothing.
func TestDTDLNew(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, x := range map[string]struct {
		arg  string
		code int
		id   string
	}{
		"a name":        {"Pump", 0, "dtmi:com:example:Pump;1"},
		"again":         {"Pump", 2, ""},
		"an identifier": {"dtmi:org:acme:Fan;2.1", 0, "dtmi:org:acme:Fan;2.1"},
		"no name":       {"Pu mp", 2, ""},
		"a digit":       {"1st", 2, ""},
		"no version":    {"dtmi:org:acme:Fan", 2, ""},
		"reserved":      {"dtmi:dtdl:Fan;1", 2, ""},
		"of a system":   {"_Fan", 2, ""},
		"too long":      {strings.Repeat("x", 200), 2, ""},
		"version 0":     {"dtmi:org:acme:Fan;0", 2, ""},
	} {
		if name == "again" {
			if err := os.WriteFile("Pump.json", []byte("mine"), 0o644); err != nil {
				t.Fatal(err)
			}
		} else {
			_ = os.Remove("Pump.json")
		}
		code, out, errOut := vaultmeshDTDL("new", "--json", x.arg)
		if code != x.code {
			t.Errorf("%s: status %d, want %d: %s%s", name, code, x.code, out, errOut)
		}
		if code != 0 {
			continue
		}
		var said struct{ File, ID string }
		if err := json.Unmarshal([]byte(out), &said); err != nil || said.ID != x.id {
			t.Errorf("%s: %v in %s", name, err, out)
		}
		b, err := os.ReadFile(said.File)
		if err != nil {
			t.Fatal(err)
		}
		set, err := dtdl.Parse([]dtdl.Document{{Name: said.File, Data: b}}, dtdl.Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		i, ok := set.Interface(x.id)
		if !ok || i.Comment() == "" || strings.Contains(string(b), starterName) {
			t.Errorf("%s: the model is %s", name, b)
		}
		kinds := map[string]bool{}
		for _, c := range i.Contents() {
			kinds[c.Class()] = c.Comment() != ""
		}
		if want := "map[Command:true Property:true Relationship:true Telemetry:true]"; fmt.Sprint(kinds) != want {
			t.Errorf("%s: comments %v", name, kinds)
		}
	}
	if code, out, _ := vaultmeshDTDL("new", "Pump", "-o", "-"); code != 0 || !json.Valid([]byte(out)) {
		t.Errorf("status %d: %s", code, out)
	}
}

// The models that VaultMesh ships are a valid set.
func TestDTDLShipped(t *testing.T) {
	if code, out, errOut := vaultmeshDTDL("check", "../../energy/grid/models"); code != 0 || !strings.Contains(out, "valid: 17 interfaces in 17 files") {
		t.Errorf("status %d: %s%s", code, out, errOut)
	}
}
