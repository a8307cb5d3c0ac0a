package state

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"vaultmesh.org/vaultmesh"
)

// The keys: a class, a slash, a name.
const (
	twinPrefix    = "twin/"
	subjectPrefix = "subject/"
)

// TwinKey is the key of a twin's state.
func TwinKey(id vaultmesh.TwinID) string { return twinPrefix + string(id) }

// SubjectKey is the key of the head of a subject's chain of receipts.
func SubjectKey(subject string) string { return subjectPrefix + subject }

// InStateTree reports whether the head of a subject's chain is in the state tree: that of every subject but commands,
// which end, and telemetry, which never stands still. Of those the tree can prove nothing, absence least of all.
func InStateTree(subject string) bool {
	return !strings.HasPrefix(subject, "command/") && !strings.HasPrefix(subject, "telemetry/")
}

// CheckKey reports whether key is one that a state tree may hold.
func CheckKey(key string) error {
	const op = "state.key"
	if len(key) > MaxKey || !utf8.ValidString(key) {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "", "want at most %d bytes of UTF-8", MaxKey)
	}
	if id, ok := strings.CutPrefix(key, twinPrefix); ok {
		return vaultmesh.Wrap(vaultmesh.CheckID("twin", id), op, clip(key))
	}
	subject, ok := strings.CutPrefix(key, subjectPrefix)
	if !ok || subject == "" {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, clip(key), "no such key").WithFix(`want "twin/" and an identifier, or "subject/" and a subject of receipts`)
	}
	if !InStateTree(subject) {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, clip(key), "the heads of commands and telemetry are not in the state tree").WithFix("ask for the bundle of the command")
	}
	return nil
}

// TimeFormat is the only text form of times in documents: RFC 3339, microseconds, UTC.
const TimeFormat = "2006-01-02T15:04:05.000000Z"

// Value is one reported property or telemetry value as the twin held it.
type Value struct {
	JSON    json.RawMessage // the exact bytes that the device sent
	Quality string          // "good", "questionable" or "invalid"
	Time    time.Time       // at the source, microseconds
}

// Relationship is an edge to another twin.
type Relationship struct {
	Name   string           `json:"name"`
	Target vaultmesh.TwinID `json:"target"`
}

// Twin is the whole state of one twin at one version. Its document is one line of JSON with these members in this order,
// those that are empty left out:
//
//	desired        object: name to value, as an authorized command set it
//	device         who speaks for it
//	model          DTMI
//	nameplate      object: name to value, fixed by the definition
//	relationships  array of {"name":…,"target":…}, in the order of the definition
//	reported       object: property to {"q":quality,"t":time,"v":value}
//	seen           time at the source of the newest message that changed it
//	telemetry      object: name to {"q":…,"t":…,"v":…}, the latest of each
//	twin           its identifier; never left out
//	version        decimal digits as a string; never left out
//
// The names in an object are in ascending order of their bytes. A value is held byte for byte as it came, but for
// white space around it: it is JSON, but not made canonical, since that would lose digits of numbers. Times are in [TimeFormat].
type Twin struct {
	ID            vaultmesh.TwinID
	Model         string
	Device        vaultmesh.DeviceID
	Nameplate     map[string]json.RawMessage
	Relationships []Relationship
	Reported      map[string]Value
	Telemetry     map[string]Value
	Desired       map[string]json.RawMessage
	Version       uint64
	Seen          time.Time
}

// Append appends the document.
func (t *Twin) Append(b []byte) []byte {
	b = append(b, '{')
	b = appendMap(b, `"desired":{`, t.Desired, appendRaw)
	if t.Device != "" {
		b = append(appendText(append(b, `"device":`...), string(t.Device)), ',')
	}
	if t.Model != "" {
		b = append(appendText(append(b, `"model":`...), t.Model), ',')
	}
	b = appendMap(b, `"nameplate":{`, t.Nameplate, appendRaw)
	if len(t.Relationships) > 0 {
		b = append(b, `"relationships":[`...)
		for i, r := range t.Relationships {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(append(b, `{"name":`...), r.Name)
			b = append(appendText(append(b, `,"target":`...), string(r.Target)), '}')
		}
		b = append(b, `],`...)
	}
	b = appendMap(b, `"reported":{`, t.Reported, appendValue)
	if !t.Seen.IsZero() {
		b = append(t.Seen.UTC().AppendFormat(append(b, `"seen":"`...), TimeFormat), `",`...)
	}
	b = appendMap(b, `"telemetry":{`, t.Telemetry, appendValue)
	b = appendText(append(b, `"twin":`...), string(t.ID))
	b = strconv.AppendUint(append(b, `,"version":"`...), t.Version, 10)
	return append(b, `"}`...)
}

func appendMap[V any](b []byte, open string, m map[string]V, value func([]byte, V) []byte) []byte {
	if len(m) == 0 {
		return b
	}
	b = append(b, open...)
	for i, name := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = value(append(appendText(b, name), ':'), m[name])
	}
	return append(b, `},`...)
}

func appendRaw(b []byte, v json.RawMessage) []byte { return append(b, bytes.Trim(v, " \t\r\n")...) }

func appendValue(b []byte, v Value) []byte {
	b = appendText(append(b, `{"q":`...), v.Quality)
	b = v.Time.UTC().AppendFormat(append(b, `,"t":"`...), TimeFormat)
	return append(appendRaw(append(b, `","v":`...), v.JSON), '}')
}

// OpenTwin reads a document that [Twin.Append] wrote and accepts no other form of it.
func OpenTwin(document []byte) (Twin, error) {
	const op = "state.twin"
	if len(document) > MaxDocument {
		return Twin{}, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d bytes, the limit is %d", len(document), MaxDocument)
	}
	var in struct {
		Desired       map[string]json.RawMessage `json:"desired"`
		Device        vaultmesh.DeviceID         `json:"device"`
		Model         string                     `json:"model"`
		Nameplate     map[string]json.RawMessage `json:"nameplate"`
		Relationships []Relationship             `json:"relationships"`
		Reported      map[string]value           `json:"reported"`
		Seen          string                     `json:"seen"`
		Telemetry     map[string]value           `json:"telemetry"`
		Twin          vaultmesh.TwinID           `json:"twin"`
		Version       uint64                     `json:"version,string"`
	}
	if err := decode(document, &in); err != nil {
		return Twin{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "it cannot be read").Because(err)
	}
	t := Twin{ID: in.Twin, Model: in.Model, Device: in.Device, Nameplate: in.Nameplate, Relationships: in.Relationships, Desired: in.Desired, Version: in.Version}
	var err error
	if in.Seen != "" {
		if t.Seen, err = time.Parse(TimeFormat, in.Seen); err != nil {
			return Twin{}, vaultmesh.Errorf(vaultmesh.Invalid, op, clip(string(t.ID)), "the time in seen is not in the form %s", TimeFormat)
		}
	}
	if t.Reported, err = values(in.Reported); err == nil {
		t.Telemetry, err = values(in.Telemetry)
	}
	if err == nil {
		err = vaultmesh.CheckID("twin", string(t.ID))
	}
	if err != nil {
		return Twin{}, vaultmesh.Wrap(err, op, clip(string(t.ID)))
	}
	if !bytes.Equal(t.Append(nil), document) {
		return Twin{}, vaultmesh.Errorf(vaultmesh.Invalid, op, clip(string(t.ID)), "it is not in the one form in which it may be written")
	}
	return t, nil
}

type value struct {
	Q string          `json:"q"`
	T string          `json:"t"`
	V json.RawMessage `json:"v"`
}

func values(in map[string]value) (map[string]Value, error) {
	if in == nil {
		return nil, nil
	}
	out := make(map[string]Value, len(in))
	for name, v := range in {
		at, err := time.Parse(TimeFormat, v.T)
		if err != nil || v.Q != "good" && v.Q != "questionable" && v.Q != "invalid" {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, "state.value", clip(name), "its time or quality is malformed")
		}
		out[name] = Value{JSON: v.V, Quality: v.Q, Time: at}
	}
	return out, nil
}

// Held is one property of a twin as its document holds it.
type Held struct {
	Kind  string // "nameplate", "reported", "telemetry" or "desired"
	Value Value  // nameplate and desired ones have neither quality nor time
}

// Property returns what the document holds under a name: the nameplate or the reported or telemetry value, then the desired
// one; none where the twin held no such value.
func (t *Twin) Property(name string) []Held {
	var out []Held
	if v, ok := t.Nameplate[name]; ok {
		out = append(out, Held{"nameplate", Value{JSON: v}})
	}
	if v, ok := t.Reported[name]; ok {
		out = append(out, Held{"reported", v})
	}
	if v, ok := t.Telemetry[name]; ok {
		out = append(out, Held{"telemetry", v})
	}
	if v, ok := t.Desired[name]; ok {
		out = append(out, Held{"desired", Value{JSON: v}})
	}
	return out
}

// Names returns the names of all values that the document holds, in order.
func (t *Twin) Names() []string {
	names := map[string]bool{}
	for n := range t.Nameplate {
		names[n] = true
	}
	for n := range t.Reported {
		names[n] = true
	}
	for n := range t.Telemetry {
		names[n] = true
	}
	for n := range t.Desired {
		names[n] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// Subject is the head of a subject's chain of receipts: how many there are, and the index and leaf hash of the last one.
// Its document is one line of JSON with the members count, index (decimal digits as strings) and leaf, in this order.
type Subject struct {
	Count uint64             `json:"count,string"`
	Index vaultmesh.LogIndex `json:"index,string"`
	Leaf  vaultmesh.Digest   `json:"leaf"`
}

// Append appends the document.
func (s Subject) Append(b []byte) []byte {
	b = strconv.AppendUint(append(b, `{"count":"`...), s.Count, 10)
	b = strconv.AppendUint(append(b, `","index":"`...), uint64(s.Index), 10)
	return append(appendDigest(append(b, `","leaf":`...), s.Leaf), '}')
}

// OpenSubject reads a document that [Subject.Append] wrote and accepts no other form of it.
func OpenSubject(document []byte) (Subject, error) {
	var s Subject
	if len(document) > 256 {
		return s, vaultmesh.Errorf(vaultmesh.TooLarge, "state.subject", "", "%d bytes, the limit is 256", len(document))
	}
	if err := decode(document, &s); err != nil {
		return Subject{}, vaultmesh.Errorf(vaultmesh.Invalid, "state.subject", "", "it cannot be read").Because(err)
	}
	if !bytes.Equal(s.Append(nil), document) {
		return Subject{}, vaultmesh.Errorf(vaultmesh.Invalid, "state.subject", "", "it is not in the one form in which it may be written")
	}
	return s, nil
}
