package node

import (
	"strings"
	"testing"
	"time"
)

// Every setting of the places is checked before anything is opened, and the error names its key.
func TestStorageConfig(t *testing.T) {
	for key, spoil := range map[string]func(*Config){
		"log.tiles":         func(c *Config) { c.Log.Tiles = "https://example.com/log" },
		"log.interval":      func(c *Config) { c.Log.Interval = 0 },
		"log.grace":         func(c *Config) { c.Log.Grace = -time.Second },
		"log.timeout":       func(c *Config) { c.Log.Timeout = 0 },
		"log.parallel":      func(c *Config) { c.Log.Parallel = 65 },
		"archive.url":       func(c *Config) { c.Archive.URL = "mem://x" },
		"archive.interval":  func(c *Config) { c.Archive.Interval = 0 },
		"archive.retention": func(c *Config) { c.Archive.Retention = 0 },
		"archive.lock":      func(c *Config) { c.Archive.Lock = "yes" },
		"archive.mode":      func(c *Config) { c.Archive.Mode = "" },
		"archive.timeout":   func(c *Config) { c.Archive.Timeout = -1 },
	} {
		c := Defaults("dev")
		c.Data = t.TempDir()
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		spoil(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	c, err := LoadConfig("", "dev", []string{"VAULTMESH_DATA=" + t.TempDir(), "VAULTMESH_LOG_TILES=s3://bucket/prefix", "VAULTMESH_ARCHIVE_RETENTION=24h", "VAULTMESH_ARCHIVE_URL=gs://bucket"})
	if err != nil || c.Log.Tiles != "s3://bucket/prefix" || c.Archive.Retention != 24*time.Hour || c.Archive.URL != "gs://bucket" {
		t.Fatalf("%+v %v", c, err)
	}
}
