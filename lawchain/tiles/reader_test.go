package tiles_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	tessera "github.com/transparency-dev/tessera/fsck"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/test/logs"
	"vaultmesh.org/vaultmesh/test/peers"
)

// A stock tlog-tiles reader, Tessera's, reads and verifies what is published: from a folder, over HTTP, from S3.
func TestTesseraReadsFolder(t *testing.T) {
	dir := t.TempDir()
	stockReader(t, dir, func(*testing.T) tessera.Fetcher { return client.FileFetcher{Root: dir} })
}

func TestTesseraReadsHTTP(t *testing.T) {
	dir := t.TempDir()
	srv := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer srv.Close()
	defer srv.Client().CloseIdleConnections()
	stockReader(t, dir, func(t *testing.T) tessera.Fetcher {
		u, err := url.Parse(srv.URL + "/")
		if err != nil {
			t.Fatal(err)
		}
		f, err := client.NewHTTPFetcher(u, srv.Client())
		if err != nil {
			t.Fatal(err)
		}
		return f
	})
}

// What a reader sees in a public bucket is served by the store itself, without a line of ours in between.
func TestTesseraReadsS3(t *testing.T) {
	store := peers.Versity(t, t.TempDir())
	address := store.Bucket(t, "published", false)
	policy, name := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::published/*"}]}`, "published"
	if _, err := store.Client.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: &name, Policy: &policy}); err != nil {
		t.Fatal(err)
	}
	c := &http.Client{}
	defer c.CloseIdleConnections()
	stockReader(t, address, func(t *testing.T) tessera.Fetcher {
		u, err := url.Parse(store.Endpoint + "/published/")
		if err != nil {
			t.Fatal(err)
		}
		f, err := client.NewHTTPFetcher(u, c)
		if err != nil {
			t.Fatal(err)
		}
		return f
	})
}

func stockReader(t *testing.T, address string, fetcher func(*testing.T) tessera.Fetcher) {
	ctx := t.Context()
	v := logs.Notes.Verifier
	l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, address)
	defer l.Close(t)
	p := tiles.New(tiles.Options{Log: l.Log, Bucket: b})
	f := fetcher(t)
	type head struct {
		size uint64
		root []byte
	}
	var heads []head
	for _, n := range []int{1, 254, 1, 44, 300} {
		l.Grow(t, n)
		if err := p.Publish(ctx); err != nil {
			t.Fatal(err)
		}
		cp, _, _, err := client.FetchCheckpoint(ctx, f.ReadCheckpoint, v, logs.Origin)
		if err != nil {
			t.Fatal(err)
		}
		if cp.Size != l.Checkpoint().Size {
			t.Fatalf("it reads a checkpoint of %d, the log has %d", cp.Size, l.Checkpoint().Size)
		}
		heads = append(heads, head{cp.Size, cp.Hash})
	}
	for _, h := range heads { // earlier sizes too: their partial tiles are there still
		pb, err := client.NewProofBuilder(ctx, h.size, f.ReadTile)
		if err != nil {
			t.Fatal(err)
		}
		for i := uint64(0); i < h.size; i += 1 + h.size/17 {
			path, err := pb.InclusionProof(ctx, i)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := client.GetEntryBundle(ctx, f.ReadEntryBundle, i/tiles.Width, h.size)
			if err != nil {
				t.Fatal(err)
			}
			want, err := l.Receipt(vaultmesh.LogIndex(i))
			if err != nil {
				t.Fatal(err)
			}
			entry := raw.Entries[i%tiles.Width]
			if !bytes.Equal(entry, want) {
				t.Fatalf("entry %d is not the receipt", i)
			}
			if err := proof.VerifyInclusion(rfc6962.DefaultHasher, i, h.size, rfc6962.DefaultHasher.HashLeaf(entry), path, h.root); err != nil {
				t.Fatal(err)
			}
		}
		for _, older := range heads {
			if older.size >= h.size {
				break
			}
			path, err := pb.ConsistencyProof(ctx, older.size, h.size)
			if err != nil {
				t.Fatal(err)
			}
			if err := proof.VerifyConsistency(rfc6962.DefaultHasher, older.size, h.size, path, older.root, h.root); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := stockCheck(ctx, f); err != nil {
		t.Fatalf("Tessera's fsck: %v", err)
	}
	damaged := "tile/1/000.p/2"
	h, err := b.Get(ctx, damaged, 100)
	if err != nil {
		t.Fatal(err)
	}
	h[5] ^= 1
	if err := b.Replace(ctx, damaged, h); err != nil {
		t.Fatal(err)
	}
	if pb, err := client.NewProofBuilder(ctx, heads[4].size, f.ReadTile); err == nil {
		path, err := pb.InclusionProof(ctx, 300)
		raw, rerr := l.Receipt(300)
		if err == nil && rerr == nil && proof.VerifyInclusion(rfc6962.DefaultHasher, 300, heads[4].size, rfc6962.DefaultHasher.HashLeaf(raw), path, heads[4].root) == nil {
			t.Fatal("a proof over a damaged tile verifies: the reader reads something else")
		}
	}
}

// stockCheck is Tessera's own check of a whole log. It is asked of sound logs only: on damage it may hang (v1.0.4).
func stockCheck(ctx context.Context, f tessera.Fetcher) error {
	v := logs.Notes.Verifier
	hash := func(raw []byte) (hashes [][]byte, err error) {
		var b api.EntryBundle
		if err := b.UnmarshalText(raw); err != nil {
			return nil, err
		}
		for _, e := range b.Entries {
			hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(e))
		}
		return hashes, nil
	}
	return tessera.New(logs.Origin, v, f, hash, tessera.Opts{N: 2}).Check(ctx)
}

// A store that stands still or is gone is an error that passes; the log is published when it is back.
func TestStoreStandsStill(t *testing.T) {
	store := peers.Versity(t, t.TempDir())
	l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, store.Bucket(t, "published", false))
	defer l.Close(t)
	l.Grow(t, 300)
	p := tiles.New(tiles.Options{Log: l.Log, Bucket: b, Timeout: 300 * time.Millisecond})
	store.Pause()
	for _, f := range []func(context.Context) error{p.Check, p.Publish} {
		if err := f(t.Context()); err == nil || vaultmesh.KindOf(err) != vaultmesh.Unavailable {
			t.Fatalf("a store that stands still: %v", err)
		}
	}
	store.Resume()
	if err := tiles.New(tiles.Options{Log: l.Log, Bucket: b}).Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if size := readLog(t, b); size != 300 {
		t.Fatal(size)
	}
}

// A full store keeps the published log as it is; with space again, the same publisher goes on.
func TestStoreIsFull(t *testing.T) {
	store := peers.SmallVersity(t, 1<<20)
	l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, store.Bucket(t, "small", false))
	defer l.Close(t)
	l.Grow(t, 10)
	p := tiles.New(tiles.Options{Log: l.Log, Bucket: b})
	if err := p.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Replace(t.Context(), "other", make([]byte, 800<<10)); err != nil {
		t.Fatal(err)
	}
	l.Grow(t, 600)
	if err := p.Publish(t.Context()); err == nil || vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Fatalf("a full store: %v", err)
	}
	if size := readLog(t, b); size != 10 {
		t.Fatal(size)
	}
	if err := b.Delete(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if size := readLog(t, b); size != 610 {
		t.Fatal(size)
	}
}
