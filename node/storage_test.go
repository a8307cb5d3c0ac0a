package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

func storageConfig(t *testing.T) Config {
	t.Helper()
	return keyConfig(filepath.Join(t.TempDir(), "data"))
}

func tryStart(t *testing.T, c Config) (*Node, error) {
	t.Helper()
	return Start(context.Background(), c, slog.New(slog.DiscardHandler))
}

// metric is the value of a metric without labels.
func metric(t *testing.T, n *Node, name string) float64 {
	t.Helper()
	all, err := n.registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// await looks until the node's own workers have made it so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(what)
		}
	}
}

// Buckets that refuse everything stop neither the start nor the work nor the end of a node; the metrics say so.
func TestNodeOutlivesItsBuckets(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "x")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer srv.Close()
	c := storageConfig(t)
	c.Log.Tiles = fmt.Sprintf("s3://published?region=x&use_path_style=true&endpoint=%s", srv.URL)
	c.Archive.URL = strings.Replace(c.Log.Tiles, "published", "archive", 1)
	n, err := tryStart(t, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	await(t, "the metrics do not say that nothing is published", func() bool {
		return metric(t, n, "vaultmesh_log_publish_failures_total") > 0 && metric(t, n, "vaultmesh_log_unpublished_receipts") > 0 && metric(t, n, "vaultmesh_log_published_size") == 0
	})
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	c.Log.Tiles = "" // what could not be published is published later
	if n, err = tryStart(t, c); err != nil {
		t.Fatal(err)
	}
	await(t, "the log is not published", func() bool {
		return metric(t, n, "vaultmesh_log_unpublished_receipts") == 0 && metric(t, n, "vaultmesh_log_published_size") > 0
	})
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

// A place that holds another log stops the start.
func TestPlaceOfAnotherLog(t *testing.T) {
	c := storageConfig(t)
	n, err := tryStart(t, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	other := storageConfig(t)
	other.Log.Tiles = "file://" + filepath.Join(c.Data, "log")
	if n, err := tryStart(t, other); err == nil || vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		if err == nil {
			_ = n.Close()
		}
		// A new domain has no receipt yet when it looks: what is published is more than its journal has.
		t.Fatalf("a place with another log is accepted: %v", err)
	}
	if err := os.WriteFile(filepath.Join(c.Data, "log", "checkpoint"), []byte("no checkpoint"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := tryStart(t, c); err == nil || vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		if err == nil {
			_ = n.Close()
		}
		t.Fatalf("a damaged place is accepted: %v", err)
	}
}
