package peers

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// S3 is an object store that speaks S3: versitygw over a folder.
type S3 struct {
	*Process
	Root     string // folder: each bucket is a folder in it
	Endpoint string
	Client   *s3.Client
}

// The only account of the store.
const (
	s3Access = "vaultmesh-test"
	s3Secret = "vaultmesh-test-secret"
)

// Versity starts versitygw over root, which keeps versions of overwritten objects, and sets the credentials in the
// environment of the test.
func Versity(t testing.TB, root string) *S3 {
	t.Helper()
	return versity(t, root)
}

// SmallVersity is a store with a disk of so many bytes.
func SmallVersity(t testing.TB, size int) *S3 {
	t.Helper()
	root := t.TempDir()
	return versity(t, root, SmallDisk(t, root, size)...)
}

// SmallDisk returns the beginning of a command line: what follows it sees at dir an empty file system of so many bytes,
// which is in memory and which nobody else sees.
func SmallDisk(t testing.TB, dir string, size int) []string {
	t.Helper()
	cmd := []string{"unshare", "--user", "--map-root-user", "--mount", "sh", "-c", `mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"`, "sh", strconv.Itoa(size), dir}
	if out, err := exec.Command(cmd[0], append(cmd[1:], "true")...).CombinedOutput(); err != nil {
		absent(t, "a file system of its own (unshare, tmpfs): %v %s", err, tail(out))
	}
	return cmd
}

func versity(t testing.TB, root string, wrap ...string) *S3 {
	t.Helper()
	bin := goBinary(t, versitygw, versitygwVersion, "./cmd/versitygw")
	addr := fmt.Sprintf("127.0.0.1:%d", Port(t))
	versions := filepath.Join(t.TempDir(), "versions")
	if err := os.MkdirAll(versions, 0o700); err != nil {
		t.Fatal(err)
	}
	line := append(wrap, bin, "--port", addr, "--access", s3Access, "--secret", s3Secret, "posix", "--versioning-dir", versions, root)
	cmd := exec.Command(line[0], line[1:]...)
	s := &S3{Process: Start(t, cmd, Dial(addr)), Root: root, Endpoint: "http://" + addr}
	if e, ok := t.(interface{ Setenv(key, value string) }); ok {
		e.Setenv("AWS_ACCESS_KEY_ID", s3Access)
		e.Setenv("AWS_SECRET_ACCESS_KEY", s3Secret)
		e.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	}
	s.Client = s3.New(s3.Options{BaseEndpoint: aws.String(s.Endpoint), UsePathStyle: true, Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider(s3Access, s3Secret, "")})
	return s
}

// Bucket makes a bucket, with object lock where lock is set, and returns its address for gocloud.dev/blob.
func (s *S3) Bucket(t testing.TB, name string, lock bool) string {
	t.Helper()
	_, err := s.Client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name, ObjectLockEnabledForBucket: &lock})
	if err != nil {
		t.Fatal(err)
	}
	q := url.Values{"endpoint": {s.Endpoint}, "use_path_style": {"true"}, "region": {"us-east-1"}}
	return "s3://" + name + "?" + q.Encode()
}
