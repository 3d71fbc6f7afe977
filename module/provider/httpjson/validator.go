package httpjson

import (
	"regexp/syntax"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// mixedArithmetic refuses to calculate with a value of the answer and a whole number. All numbers of JSON are doubles
// in CEL, which has no such operation: without this, every answer would be a bad one. It also refuses to divide whole
// numbers, since 87 of 100 would be 0.
type mixedArithmetic struct{}

func (mixedArithmetic) Name() string { return "ip_reputation.mixed_arithmetic" }

func (mixedArithmetic) Validate(_ *cel.Env, _ cel.ValidatorConfig, a *ast.AST, issues *cel.Issues) {
	for _, call := range calls(a) {
		switch call.AsCall().FunctionName() {
		case operators.Add, operators.Subtract, operators.Multiply, operators.Divide:
		default:
			continue
		}
		args := call.AsCall().Args()
		left, right := a.GetType(args[0].ID()).Kind(), a.GetType(args[1].ID()).Kind()
		if call.AsCall().FunctionName() == operators.Divide && whole(left) && whole(right) {
			issues.ReportErrorAtID(call.ID(), "it divides whole numbers, which leaves out the rest: "+
				"write double(…) for int(…), and 100.0 for 100")
		}
		if left == types.DynKind && whole(right) || right == types.DynKind && whole(left) {
			issues.ReportErrorAtID(call.ID(), "it calculates with a number of the answer and a whole number: "+
				"write 100.0 for 100, and double(…) around other whole numbers")
		}
	}
}

func whole(kind types.Kind) bool { return kind == types.IntKind || kind == types.UintKind }

// unboundedCalls refuses functions whose result can be much longer than the answer, or that take their work from it.
// CEL counts the cost of a call after it.
type unboundedCalls struct{}

func (unboundedCalls) Name() string { return "ip_reputation.unbounded_calls" }

func (unboundedCalls) Validate(_ *cel.Env, _ cel.ValidatorConfig, a *ast.AST, issues *cel.Issues) {
	for _, call := range calls(a) {
		c := call.AsCall()
		switch name := c.FunctionName(); name {
		case "replace", "join", "format":
			issues.ReportErrorAtID(call.ID(), "%s is not available, since its result has no bound: "+
				"use split, substring or lowerAscii", name)
		case "indexOf", "lastIndexOf":
			// they look at each place anew, which takes the product of both lengths
			wanted := c.Args()[0]
			isIP := wanted.Kind() == ast.IdentKind && wanted.AsIdent() == "ip"
			if wanted.Kind() != ast.LiteralKind && !isIP {
				issues.ReportErrorAtID(call.ID(), "the text that %s looks for is not written out: write it between quotes, "+
					"or use contains", name)
			}
		case "matches":
			pattern := c.Args()[len(c.Args())-1]
			if pattern.Kind() != ast.LiteralKind {
				issues.ReportErrorAtID(call.ID(), "the pattern of matches is not written out: "+
					"write it between quotes, since services must not choose it")
				continue
			}
			if text, ok := pattern.AsLiteral().Value().(string); ok && instructions(text) > maxPattern {
				issues.ReportErrorAtID(call.ID(), "the pattern of matches has more than %d instructions: make it shorter", maxPattern)
			}
		}
	}
}

// instructions returns the size of a compiled regular expression, 0 for what is none. CEL's own limit panics for repetitions
// such as {1,3}, which it does not simplify first.
func instructions(pattern string) int {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0 // another validator says so
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return 0
	}
	return len(program.Inst)
}

func calls(a *ast.AST) []ast.NavigableExpr {
	return ast.MatchDescendants(ast.NavigateAST(a), ast.KindMatcher(ast.CallKind))
}
