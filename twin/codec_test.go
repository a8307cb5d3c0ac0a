package twin

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/crdt"
	"vaultmesh.org/vaultmesh/journal"
)

// The keys and records are a format: stores of earlier versions hold them.
func TestGoldenRecords(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	m := &Message{Twin: "line", Device: "sub-1", Time: at(0), Seq: 7, Properties: values("closed", "true"), Telemetry: values("flow", "1.5"), Quality: map[string]Quality{"flow": Invalid}, Raw: []byte("raw")}
	merge(t, s, data, m, 258, 3)
	must(t, run(data, func(tx journal.Tx) error { return s.SetDesired(tx, "line", values("tap", "1.1")) }))
	const mark = "8006475ef64cf340" // 2026-01-02T03:04:05Z, microseconds since 1970 with the first bit turned
	for key, want := range map[string]string{
		"t/d/line": hex.EncodeToString([]byte(`{"id":"line","model":"dtmi:test:Branch;1","device":"sub-1","nameplate":{"rating":120.5},"relationships":[{"name":"from","target":"bus-1"},{"name":"near","target":"bus-2"}]}`)),
		"t/s/line\x00\x00\x00": "01" + "01" + mark + "0007" + "02" +
			"00" + "06" + hex.EncodeToString([]byte("closed")) + mark + "0007" + "05" + hex.EncodeToString([]byte("sub-1")) + "05" + "00" + hex.EncodeToString([]byte("true")) +
			"01" + "04" + hex.EncodeToString([]byte("flow")) + mark + "0007" + "05" + hex.EncodeToString([]byte("sub-1")) + "04" + "02" + hex.EncodeToString([]byte("1.5")),
		"t/w/line": "01" + "02" + "01" + mark + "0007" + hex.EncodeToString([]byte(`{"tap":1.1}`)),
		"t/h/line\x00\x80\x06\x47\x5e\xf6\x4c\xf3\x40\x00\x07\xd7\x43\x9b\xee\x24\x77\x3b\xcb": "0000000000000102" + "00000003" + hex.EncodeToString([]byte("raw")),
	} {
		if got := hex.EncodeToString(data[key]); got != want {
			t.Errorf("%q:\n got %s\nwant %s", key, got, want)
		}
	}
}

func FuzzDecodeBlock(f *testing.F) {
	s, data := newStore(f), map[string][]byte{}
	grid(f, s, data)
	merge(f, s, data, message(0, 3, values("closed", "true", "label", `"é"`), values("flow", "1e9")), 0, 0)
	seed := data[string(blockKey("line", 0))]
	f.Add(seed)
	f.Add(seed[:len(seed)-3])
	f.Add([]byte{blockFormat, 0x80, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		block, err := decodeBlock(b)
		if err != nil {
			if vaultmesh.KindOf(err) != vaultmesh.Corrupt {
				t.Fatalf("kind of %v", err)
			}
			return
		}
		// What is accepted has one encoding.
		sc := &schema{}
		st := &state{def: &definition{schema: sc}, version: block.version, newest: block.newest}
		regs := make([]crdt.Register, len(block.registers))
		for i, r := range block.registers {
			sc.slots = append(sc.slots, slot{index: i, name: r.name, kind: r.kind})
			regs[i] = r.Register
		}
		st.blocks = append(st.blocks, regs)
		if again := st.encodeBlock(nil, 0); !bytes.Equal(again, b) {
			t.Fatalf("%x decodes and encodes as %x", b, again)
		}
		if n := st.blockBound(0); n < len(b) {
			t.Fatalf("%d bytes, bound %d", len(b), n)
		}
	})
}

func FuzzDecodeDesired(f *testing.F) {
	f.Add([]byte("\x01\x02\x00{\"tap\":1}"))
	f.Add([]byte("\x01\x02\x01\x80\x06\x47\x5e\xf6\x4c\xf3\x40\x00\x07{}"))
	f.Add([]byte("\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, desired, err := decodeDesired(b)
		if err != nil && vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			t.Fatalf("kind of %v", err)
		}
		if err == nil && desired != nil && len(desired) == 0 {
			t.Fatal("an empty map is not nil")
		}
	})
}

func FuzzRecordKey(f *testing.F) {
	f.Add(string(KeyOf(message(0, 0, nil, nil))))
	f.Add("zz")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := RecordKey(text).bytes()
		if err == nil && hex.EncodeToString(b) != text {
			t.Fatalf("%q has two forms", text)
		}
	})
}

func TestQualityText(t *testing.T) {
	for q := Good; q <= Invalid; q++ {
		var back map[string]Quality
		text := asJSON(map[string]Quality{"x": q})
		if err := json.Unmarshal([]byte(text), &back); err != nil || back["x"] != q {
			t.Errorf("%s: %v %v", text, back, err)
		}
	}
	var q Quality
	if err := json.Unmarshal([]byte(`"bad"`), &q); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("got %v", err)
	}
	if _, err := json.Marshal(Quality(3)); err == nil {
		t.Error("a quality that is none has a text")
	}
}
