package dtdl

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func testDataRoot() string {
	if root := os.Getenv("VAULTMESH_TESTDATA"); root != "" {
		return root
	}
	return filepath.Join("..", "..", "shared", "data")
}

func hasTestData() bool {
	_, err := os.Stat(filepath.Join(testDataRoot(), "dtdl", "suite"))
	return err == nil
}

// testData returns a folder of the shared test data, or skips the test where that is absent.
func testData(t testing.TB, parts ...string) string {
	t.Helper()
	dir := filepath.Join(append([]string{testDataRoot(), "dtdl"}, parts...)...)
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("VAULTMESH_REQUIRE_TESTDATA") == "1" {
			t.Fatalf("the test data is required: %v", err)
		}
		t.Skipf("the test data is absent: set VAULTMESH_TESTDATA to the folder that holds dtdl (%v)", err)
	}
	return dir
}

// modelSet reads all JSON files below a folder of models.
func modelSet(t testing.TB, parts ...string) []Document {
	t.Helper()
	dir := testData(t, append([]string{"models"}, parts...)...)
	var docs []Document
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".json") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		docs = append(docs, Document{Name: name, Data: data})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs
}
