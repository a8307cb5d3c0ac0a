package receipt

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
)

func TestEveryKindIsInOneScroll(t *testing.T) {
	count := map[string]int{}
	for _, s := range Scrolls() {
		if s.Name == "" || s.About == "" {
			t.Errorf("%+v says nothing", s)
		}
		kinds := ScrollKinds(s.Name)
		for _, k := range kinds {
			count[k]++
		}
		if len(kinds) == 0 && s.Name != "" {
			t.Errorf("the scroll %s is empty", s.Name)
		}
	}
	for _, k := range Kinds() {
		if count[k] != 1 {
			t.Errorf("%s is in %d scrolls", k, count[k])
		}
	}
	if ScrollOf("command.sent") != "" || ScrollKinds("treasury") != nil || !slices.Contains(ScrollKinds("mesh"), TwinDefined) {
		t.Error("a word that is no kind is in a scroll, or one that is none has kinds")
	}
}

func TestTwinOf(t *testing.T) {
	body := func(text string) *Draft {
		return &Draft{Kind: CommandProposed, Subject: "command/1", Body: []byte(text)}
	}
	for _, c := range []struct {
		d    *Draft
		want string
	}{
		{&Draft{Kind: TwinDefined, Subject: "twin/line-1"}, "line-1"},
		{&Draft{Kind: HaltSet, Subject: "halt/dev", Body: []byte(`{"twin":"a"}`)}, ""},
		{body(`{"args":{"twin":"no"},"command":"1","name":"open","twin":"line-2"}`), "line-2"},
		{body(`{"args":{"x":"\"twin\":\"no\""},"reason":"\\","twin":"line-3"}`), "line-3"},
		{body(`{"args":{"x":[{"twin":"no"}]}}`), ""},
		{body(`{"twin":"a\"b"}`), ""},
		{body(`{"twin":"a b"}`), ""},
		{body(`{"twin":7}`), ""},
		{body(`{"twin":"`), ""},
		{body(`{"x":"twin","y":"z"}`), ""},
		{body(``), ""},
	} {
		if got := TwinOf(c.d); string(got) != c.want {
			t.Errorf("%s: %q, want %q", c.d.Body, got, c.want)
		}
	}
}

func FuzzTwinOf(f *testing.F) {
	f.Add([]byte(`{"args":{"twin":"no"},"command":"1","name":"open","twin":"line-2"}`))
	f.Add([]byte(`{"a":"\\\"","twin":"b"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		canonical, err := Canonical(body, Limits{})
		if err != nil {
			_ = member(body, "twin") // must not panic
			return
		}
		if got, want := member(canonical, "twin"), slowMember(canonical, "twin"); got != want {
			t.Fatalf("%s: %q, want %q", canonical, got, want)
		}
	})
}

// slowMember is member by a whole decoder.
func slowMember(object []byte, name string) string {
	var m map[string]json.RawMessage
	if json.Unmarshal(object, &m) != nil {
		return ""
	}
	var s string
	if raw := m[name]; len(raw) == 0 || raw[0] != '"' || bytes.IndexByte(raw, '\\') >= 0 || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}
