package lawchain

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"vaultmesh.org/vaultmesh/receipt"
)

// puts keeps what is written.
type puts map[string][]byte

func (p puts) Put(k, v []byte) { p[string(k)] = v }

// A tile of telemetry is a few blocks of about three bytes a receipt, whatever the order of the times.
func TestBlocks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	const tile = 7
	rows, want := make([]row, tileWidth), make([]place, tileWidth)
	for i := range rows {
		rows[i] = row{kind: receipt.TelemetryBatch, actor: "node:a", time: 1_700_000_000_000_000 + int64(i)*10 - r.Int64N(50)}
		want[i] = place{rows[i].time, tile*tileWidth + uint64(i)}
	}
	sortPlaces(want)
	written := puts{}
	putBlocks(written, tile, rows)
	var got []place
	size := 0
	for k, v := range written {
		size += len(v)
		b, err := decodeBlockKey([]byte(k[len(k)-blockKeySize:]), v)
		if err != nil || b.tile != tile {
			t.Fatalf("%+v %v", b, err)
		}
		if err := b.places(func(p place) bool { got = append(got, p); return true }); err != nil {
			t.Fatal(err)
		}
	}
	sortPlaces(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if len(written) > 2 || size > 4*tileWidth {
		t.Errorf("%d blocks of %d bytes", len(written), size)
	}
}

// What is no block is an error of its kind, and what is one is its own encoding.
func FuzzBlock(f *testing.F) {
	key := func(bucket int64, tile uint64) []byte {
		return binary.BigEndian.AppendUint64(appendBucket(nil, bucket), ^tile)
	}
	f.Add(key(6_400_000_000, 3), encodeBlock(6_400_000_000, []place{{6_400_000_000 << bucketBits, 768}, {6_400_000_000<<bucketBits + 5, 769}, {6_400_000_000<<bucketBits + 5, 770}}))
	f.Add(key(0, 0), encodeBlock(0, []place{{0, 0}}))
	f.Add(key(1<<45, 0), []byte{0})
	f.Add(key(1, 1<<56), []byte{0, 0, 0})
	f.Add(key(1, 0), []byte{0xff, 0xff, 0xff, 0x7f, 0, 0})
	f.Fuzz(func(t *testing.T, k, v []byte) {
		b, err := decodeBlockKey(k, v)
		if err != nil {
			return
		}
		var places []place
		if err := b.places(func(p place) bool { places = append(places, p); return true }); err != nil || len(places) == 0 {
			return
		}
		for _, p := range places {
			if p.time>>bucketBits != b.bucket || p.index/tileWidth != b.tile || p.time < b.oldest() {
				t.Fatalf("%+v is not of bucket %d, tile %d", p, b.bucket, b.tile)
			}
		}
		if again := encodeBlock(b.bucket, places); !bytes.Equal(again, v) {
			t.Fatalf("%x and %x are the same places", v, again)
		}
	})
}

// What is no list of positions is an error of its kind; those of one ascend and stay within a tile.
func FuzzPositions(f *testing.F) {
	f.Add(uint64(0), binary.BigEndian.AppendUint64(nil, 256))
	f.Add(uint64(9), append(binary.BigEndian.AppendUint64(nil, 512), 1, 2, 200))
	f.Add(uint64(9), append(binary.BigEndian.AppendUint64(nil, 515), 1))
	f.Fuzz(func(t *testing.T, seq uint64, v []byte) {
		last, n := uint64(0), uint64(0)
		_, _ = positions("s", seq, v, func(s, index uint64) bool {
			if s != seq+n || n > 0 && (index <= last || index/tileWidth != last/tileWidth) {
				t.Fatalf("number %d at %d after %d", s, index, last)
			}
			last, n = index, n+1
			return true
		})
	})
}
