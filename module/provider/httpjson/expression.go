package httpjson

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// maxCost bounds one evaluation, in the units of CEL: about one for each operation, and one for ten characters of
	// a text that is read. CEL counts in a time that grows with its square: this many take 10 ms.
	maxCost = 20_000

	// maxExpression bounds the text of an expression, in characters.
	maxExpression = 4096

	// maxPattern bounds a compiled regular expression, in instructions.
	maxPattern = 200
)

// environment is what all expressions can use. It has the libraries of Caddy's own expressions, without that for lists.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("body", cel.DynType),
		cel.Variable("status", cel.IntType),
		cel.Variable("header", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("ip", cel.StringType),
		cel.Variable("now", cel.TimestampType),
		cel.OptionalTypes(), ext.Strings(), ext.Math(), ext.Bindings(),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(),
			mixedArithmetic{}, unboundedCalls{}),
	)
})

// result is what an expression must return.
type result struct {
	words       string // describes it in errors
	kinds       []types.Kind
	least, most float64 // of a number; both are 0 if it has no bounds
}

var (
	numbers = []types.Kind{types.DoubleKind, types.IntKind, types.UintKind}

	truth   = result{words: "true or false", kinds: []types.Kind{types.BoolKind}}
	text    = result{words: "a string", kinds: []types.Kind{types.StringKind}}
	rating  = result{words: "a number", kinds: numbers, least: -1, most: 1}
	share   = result{words: "a number", kinds: numbers, least: 0, most: 1}
	network = result{words: "a number, or a string such as AS64500",
		kinds: []types.Kind{types.DoubleKind, types.IntKind, types.UintKind, types.StringKind}}
	moment = result{words: "a timestamp, a date as a string, or seconds since 1970",
		kinds: []types.Kind{types.TimestampKind, types.StringKind, types.DoubleKind, types.IntKind, types.UintKind}}
	length = result{words: "a duration, or a number of seconds",
		kinds: []types.Kind{types.DurationKind, types.DoubleKind, types.IntKind, types.UintKind}}
)

// allows reports whether an expression of type t can return what it must. What comes from the answer has any type.
func (r result) allows(t *cel.Type) bool {
	if t.Kind() == types.OpaqueKind && t.TypeName() == "optional_type" {
		t = t.Parameters()[0]
	}
	switch t.Kind() {
	case types.DynKind, types.AnyKind, types.NullTypeKind:
		return true
	}
	return slices.Contains(r.kinds, t.Kind())
}

// expression is a compiled expression.
type expression struct {
	option  string // the option that it belongs to
	source  string
	program cel.Program
}

// compile returns the expression of an option, or nil if there is none.
func compile(option, source string, want result) (*expression, error) {
	if source == "" {
		return nil, nil
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("setting up expressions: %w", err)
	}
	ast, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, explain(option, source, issues.Errors()[0])
	}
	if !want.allows(ast.OutputType()) {
		return nil, fmt.Errorf("the expression of %s, %s, returns %s: it must return %s",
			option, quote(source), cel.FormatCELType(ast.OutputType()), want.words)
	}
	// CEL has no estimate for some functions, such as substring with one number, and gives the largest number for it.
	if cost, err := env.EstimateCost(ast, noHints{}); err == nil && cost.Min > maxCost && cost.Min != math.MaxUint64 {
		return nil, fmt.Errorf("the expression of %s, %s, always costs more than %d steps: make it shorter",
			option, quote(source), maxCost)
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost),
		cel.CostTracking(valueCost{}), cel.InterruptCheckFrequency(100))
	if err != nil {
		return nil, fmt.Errorf("the expression of %s, %s: %w", option, quote(source), err)
	}
	e := &expression{option: option, source: source, program: program}
	return e, e.checkConstant(want)
}

// checkConstant returns an error for an expression whose value is out of range, whatever the answer is.
func (e *expression) checkConstant(want result) error {
	if want.least == want.most {
		return nil
	}
	value, _, err := e.program.Eval(cel.NoVars())
	if err != nil {
		return nil //nolint:nilerr // it depends on the answer
	}
	if n, ok := toNumber(value); ok && !(n >= want.least && n <= want.most) {
		return fmt.Errorf("the expression of %s, %s, is not a number from %v to %v",
			e.option, quote(e.source), want.least, want.most)
	}
	return nil
}

// explain words an error of the compiler: where it is, what is wrong, and the cure.
func explain(option, source string, issue *cel.Error) error {
	at := fmt.Sprintf("column %d", issue.Location.Column()+1)
	if line := issue.Location.Line(); strings.Contains(source, "\n") {
		at = fmt.Sprintf("line %d, %s", line, at)
	}
	// what the parser expects instead is a list of all that there is
	message, _, _ := strings.Cut(issue.Message, " expecting ")
	message = strings.TrimSuffix(strings.ReplaceAll(message, " (in container '')", ""), ".")
	cure := ""
	switch {
	case strings.HasPrefix(message, "undeclared reference"):
		cure = ": use body, status, header, ip and now, and the functions of docs/services.md"
	case strings.Contains(message, "double, int)"), strings.Contains(message, "int, double)"):
		cure = ": write all numbers with a decimal point, such as 1.0"
	case strings.Contains(message, "no matching overload for '") && strings.HasSuffix(message, "applied to '(dyn)'"):
		cure = ": write it behind its value, as in body.name.upperAscii()"
	case strings.Contains(message, "reserved identifier: if"):
		cure = ": write `condition ? value : other value`"
	case strings.HasPrefix(message, "Syntax error"):
		message = strings.Replace(message, "mismatched input '<EOF>'", "it ends too early", 1)
		cure = ": " + syntaxCure(message, source)
	}
	return fmt.Errorf("the expression of %s, %s, has an error at %s: %s%s", option, quote(source), at, message, cure)
}

// syntaxCure says how what is written in other languages is written here.
func syntaxCure(message, source string) string {
	switch {
	case strings.Contains(message, "'and'"), strings.Contains(message, "'or'"), strings.Contains(message, "'not'"):
		return "write &&, || and !"
	case strings.Contains(message, "at: '="):
		return "compare with =="
	case strings.Contains(source, "?."):
		return "write .? before a member that may be missing"
	}
	return "check quotes and brackets, and put the expression between backticks"
}

// quote returns an expression for an error, in one line and shortened.
func quote(source string) string {
	const most = 100
	line := []rune(strings.Join(strings.Fields(source), " "))
	if len(line) > most {
		line = append(line[:most], '…')
	}
	return "`" + string(line) + "`"
}

// noHints leaves the sizes of what an expression reads unknown.
type noHints struct{}

func (noHints) EstimateSize(checker.AstNode) *checker.SizeEstimate { return nil }

func (noHints) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

// valueCost counts what goes through an operation on values of the answer. Of these, CEL does not know the type in
// advance, and would count one for each: a text that is doubled 40 times would cost 40, and to compare two lists as much
// as to compare two numbers.
type valueCost struct{}

func (valueCost) CallCost(function, overload string, args []ref.Val, result ref.Val) *uint64 {
	cost := uint64(1)
	switch {
	case function == operators.Equals || function == operators.NotEquals:
		cost += weight(args[1], weight(args[0], maxCost)) // it ends with the shorter one
	case function == operators.In, strings.HasPrefix(function, "math.@"):
		for _, value := range args {
			cost += weight(value, maxCost)
		}
	case overload != "":
		return nil // CEL knows
	default:
		cost += textSize(result) / 10
		for _, value := range args {
			cost += textSize(value) / 10
		}
	}
	return &cost
}

// weight returns the number of values in a value, where ten characters of text are one, and limit if it has more.
func weight(value ref.Val, limit uint64) uint64 {
	sum := textSize(value) / 10
	elements, ok := value.(traits.Iterable)
	if !ok {
		return min(sum, limit)
	}
	object, isObject := value.(traits.Mapper)
	for it := elements.Iterator(); sum < limit && it.HasNext() == types.True; {
		element := it.Next()
		if isObject {
			sum += textSize(element) / 10 // the name
			element = object.Get(element)
		}
		sum += 1 + weight(element, limit-min(sum, limit))
	}
	return min(sum, limit)
}

func textSize(value ref.Val) uint64 {
	switch v := value.(type) {
	case types.String:
		return uint64(len(v))
	case types.Bytes:
		return uint64(len(v))
	}
	return 0
}

// eval returns what the expression says of an answer, or nil if it says nothing: null, or an optional value that is
// missing. Errors quote nothing of the answer.
func (e *expression) eval(ctx context.Context, vars cel.Activation) (ref.Val, error) {
	if e == nil {
		return nil, nil
	}
	value, _, err := e.program.ContextEval(ctx, vars)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, e.bad(e.reason(err))
	}
	if optional, ok := value.(*types.Optional); ok {
		if !optional.HasValue() {
			return nil, nil
		}
		value = optional.GetValue()
	}
	if value.Type() == types.NullType {
		return nil, nil
	}
	return value, nil
}

// bad is the error for an answer from which the expression gives no valid value.
func (e *expression) bad(reason string) error {
	return fmt.Errorf("%w: %s: %s", reputation.ErrBadAnswer, e.option, reason)
}

// wrong is the error for a value of another type or out of range.
func (e *expression) wrong(want string) error { return e.bad("the value is not " + want) }

// reason describes an error of an evaluation. CEL's own text may hold a part of the answer, which may hold the key.
func (e *expression) reason(err error) string {
	const noKey = "no such key: "
	message := err.Error()
	switch member, missing := strings.CutPrefix(message, noKey); {
	case missing && member != "" && strings.Contains(e.source, member):
		return fmt.Sprintf("the answer has no %q", member)
	case missing:
		return "a key is missing, in the answer or in a map of the expression"
	case strings.HasPrefix(message, "no such overload"), strings.HasPrefix(message, "type conversion error"),
		strings.HasPrefix(message, "unsupported index type"):
		return "a value has another type than the expression expects"
	case strings.HasPrefix(message, "index out of bounds"):
		return "a list is shorter than the expression expects"
	case strings.HasSuffix(message, "actual cost limit exceeded"):
		return fmt.Sprintf("it took more than %d steps", maxCost)
	}
	return "the expression fails"
}

// holds reports whether a condition is true. What is missing is false.
func (e *expression) holds(ctx context.Context, vars cel.Activation) (bool, error) {
	is, _, err := e.truth(ctx, vars)
	return is, err
}

// truth returns whether a condition is true, and whether that is known.
func (e *expression) truth(ctx context.Context, vars cel.Activation) (is, known bool, err error) {
	value, err := e.eval(ctx, vars)
	if value == nil || err != nil {
		return false, false, err
	}
	b, ok := value.(types.Bool)
	if !ok {
		return false, false, e.wrong(truth.words)
	}
	return bool(b), true, nil
}

// text returns a string, "" if it is missing.
func (e *expression) text(ctx context.Context, vars cel.Activation) (string, error) {
	value, err := e.eval(ctx, vars)
	if value == nil || err != nil {
		return "", err
	}
	s, ok := value.(types.String)
	if !ok {
		return "", e.wrong(text.words)
	}
	return string(s), nil
}

// number returns a number between the limits of what is wanted. It must be there.
func (e *expression) number(ctx context.Context, vars cel.Activation, want result) (float64, error) {
	value, err := e.eval(ctx, vars)
	if err != nil {
		return 0, err
	}
	n, ok := toNumber(value)
	switch {
	case value == nil:
		return 0, e.bad("the answer has no value for it")
	case !ok || !(n >= want.least && n <= want.most): // written so that NaN is refused
		return 0, e.wrong(fmt.Sprintf("a number from %v to %v", want.least, want.most))
	}
	return n, nil
}

func toNumber(value ref.Val) (float64, bool) {
	switch n := value.(type) {
	case types.Double:
		return float64(n), true
	case types.Int:
		return float64(n), true
	case types.Uint:
		return float64(n), true
	}
	return 0, false
}

var errNoSeverity = errors.New("no severity is given: write an expression such as `severity body.score / 100.0`, " +
	"a number from -1 (good) to 1 (abusive)")
