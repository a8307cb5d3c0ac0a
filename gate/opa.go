package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// policyQuery is the document that every policy must define.
const policyQuery = "data.vaultmesh.gate.decision"

// testTimeout bounds one test of a policy.
const testTimeout = 5 * time.Second

// compiled is a policy ready to decide. It is immutable and safe for concurrent use.
type compiled struct {
	digest vaultmesh.Digest
	query  rego.PreparedEvalQuery
}

// deniedBuiltins are those that reach out, that answer the same question differently, or that read policies or
// secrets; a name that ends in a dot stands for all below it. A decision is a function of its input and data alone:
// the time is input.now.
var deniedBuiltins = []string{
	"http.", "net.", "opa.", "rego.", "providers.", "rand.", "uuid.", "io.jwt.", "crypto.x509.", "time.now_ns",
	"json.match_schema", "json.verify_schema", "trace",
}

func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.AllowNet = []string{}
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.Nondeterministic || slices.ContainsFunc(deniedBuiltins, func(name string) bool {
			return b.Name == name || strings.HasSuffix(name, ".") && strings.HasPrefix(b.Name, name)
		})
	})
	return c
}

// parsePolicy parses the modules and the data document.
func parsePolicy(files PolicyFiles) (map[string]*ast.Module, storage.Store, error) {
	modules, data := map[string]*ast.Module{}, map[string]any{}
	for _, name := range files.names() {
		if name == "data.json" {
			canonical, err := receipt.Canonical(files[name], receipt.Limits{Bytes: maxPolicyBytes})
			if err != nil {
				return nil, nil, vaultmesh.Wrap(err, "gate.policy", name)
			}
			dec := json.NewDecoder(bytes.NewReader(canonical))
			dec.UseNumber()
			if err := dec.Decode(&data); err != nil || data == nil {
				return nil, nil, vaultmesh.Errorf(vaultmesh.Invalid, "gate.policy", name, "not a JSON object")
			}
			continue
		}
		m, err := ast.ParseModuleWithOpts(name, string(files[name]), ast.ParserOptions{Capabilities: capabilities(), RegoVersion: ast.RegoV1})
		if err != nil {
			return nil, nil, vaultmesh.Errorf(vaultmesh.Invalid, "gate.policy", name, "not Rego").Because(err)
		}
		modules[name] = m
	}
	return modules, inmem.NewFromObjectWithOpts(data, inmem.OptReturnASTValuesOnRead(true)), nil
}

func newCompiler() *ast.Compiler {
	return ast.NewCompiler().WithCapabilities(capabilities()).WithStrict(true)
}

func compilePolicy(ctx context.Context, files PolicyFiles) (*compiled, error) {
	modules, store, err := parsePolicy(files)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(modules, func(name string, _ *ast.Module) bool { return strings.HasSuffix(name, "_test.rego") })
	compiler := newCompiler()
	if compiler.Compile(modules); compiler.Failed() {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "gate.policy", "", "does not compile").Because(compiler.Errors)
	}
	if len(compiler.GetRules(ast.MustParseRef(policyQuery))) == 0 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "gate.policy", "", "no rule defines %s", policyQuery).WithFix("write package vaultmesh.gate with a rule decision")
	}
	// With strict errors a builtin that fails ends the decision; otherwise a deny rule whose operand has the wrong
	// type would silently not apply.
	query, err := rego.New(rego.Query(policyQuery), rego.Compiler(compiler), rego.Store(store), rego.StrictBuiltinErrors(true)).PrepareForEval(ctx)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "gate.policy", "", "cannot be prepared").Because(err)
	}
	return &compiled{digest: files.Digest(), query: query}, nil
}

// decide evaluates the policy; exactly one defined value is a result. Without the index of rules, because the index
// passes over a rule whose operand has the wrong type before its builtin could fail.
func (p *compiled) decide(ctx context.Context, input ast.Value) (any, error) {
	results, err := p.query.Eval(ctx, rego.EvalParsedInput(input), rego.EvalRuleIndexing(false))
	if err != nil {
		return nil, err
	}
	if len(results) != 1 || len(results[0].Expressions) != 1 {
		return nil, errUndefined
	}
	return results[0].Expressions[0].Value, nil
}

var errUndefined = vaultmesh.Errorf(vaultmesh.Denied, "gate.policy", "", "the policy gave no decision")

// PolicyTest is the result of one test of a policy.
type PolicyTest struct {
	Name   string `json:"name"` // package and rule
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// PolicyReport is the result of all tests of a policy.
type PolicyReport struct {
	Digest vaultmesh.Digest `json:"digest"`
	Tests  []PolicyTest     `json:"tests"`
}

// Failed returns the tests that did not pass; a skipped test is none.
func (r PolicyReport) Failed() []PolicyTest {
	return slices.DeleteFunc(slices.Clone(r.Tests), func(t PolicyTest) bool { return t.OK })
}

// TestPolicy compiles files and runs their tests (rules test_… in files …_test.rego) with OPA's own runner. The error
// says that the policy does not compile or that a test could not be run; a test that fails is in the report.
func TestPolicy(ctx context.Context, files PolicyFiles) (PolicyReport, error) {
	if _, err := compilePolicy(ctx, files); err != nil {
		return PolicyReport{}, err
	}
	return runTests(ctx, files)
}

// runTests is TestPolicy for files that compile.
func runTests(ctx context.Context, files PolicyFiles) (PolicyReport, error) {
	report := PolicyReport{Digest: files.Digest()}
	modules, store, err := parsePolicy(files)
	if err != nil {
		return report, err
	}
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return report, vaultmesh.Errorf(vaultmesh.Internal, "gate.policy.test", "", "no transaction").Because(err)
	}
	defer store.Abort(ctx, txn)
	results, err := tester.NewRunner().SetCompiler(newCompiler()).SetStore(store).SetModules(modules).SetTimeout(testTimeout).RunTests(ctx, txn)
	if err != nil {
		return report, vaultmesh.Errorf(vaultmesh.Invalid, "gate.policy.test", "", "cannot be run").Because(err)
	}
	for r := range results {
		t := PolicyTest{Name: r.Package + "." + r.Name, OK: r.Pass() && !r.Skip}
		switch {
		case r.Error != nil:
			t.Detail = r.Error.Error()
		case r.Skip:
			t.Detail = "skipped"
		case !t.OK && r.Location != nil:
			t.Detail = fmt.Sprintf("failed at %s:%d", r.Location.File, r.Location.Row)
		}
		report.Tests = append(report.Tests, t)
	}
	slices.SortFunc(report.Tests, func(a, b PolicyTest) int { return strings.Compare(a.Name, b.Name) })
	return report, nil
}
