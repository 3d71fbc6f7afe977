package sentry

import (
	"log/slog"
	"path"
	"strings"

	sdk "github.com/getsentry/sentry-go"
)

const (
	// maxText is how much of an attribute or message is sent, in bytes.
	maxText = 500

	// maxFields is how many attributes of an entry are sent.
	maxFields = 24

	// maxInput is how many bytes of a text are searched for secrets, which bounds the time.
	maxInput = 4096

	// maxDepth is how deep groups of attributes are followed.
	maxDepth = 4
)

// field is an attribute as text.
type field struct{ name, text string }

// flatten appends the attributes as text, those of groups with dotted names.
func flatten(fields []field, prefix string, attrs []slog.Attr) []field {
	for _, a := range attrs {
		value := a.Value.Resolve()
		switch {
		case a.Equal(slog.Attr{}) || len(fields) == maxFields:
		case value.Kind() != slog.KindGroup:
			fields = append(fields, field{prefix + a.Key, text(value)})
		case strings.Count(prefix, ".") >= maxDepth:
		case a.Key == "":
			fields = flatten(fields, prefix, value.Group())
		default:
			fields = flatten(fields, prefix+a.Key+".", value.Group())
		}
	}
	return fields
}

// text returns a value as text. Methods of values may panic, mostly for nil pointers.
func text(value slog.Value) (s string) {
	defer func() {
		if recover() != nil {
			s = "(a value whose text cannot be had)"
		}
	}()
	if err, ok := value.Any().(error); ok && err != nil {
		return cut(err.Error(), maxInput) // %+v, which slog uses, lets some errors print their stack
	}
	return cut(value.String(), maxInput)
}

// lookUp returns the last attribute of a name, which is the one that a log shows.
func lookUp(fields []field, name string) (value string, ok bool) {
	for _, f := range fields {
		if f.name == name {
			value, ok = f.text, true
		}
	}
	return value, ok
}

// tags are the attributes by which Sentry can search, besides those that name the cause.
var tags = []string{"key", "request_id", "trace_id", "status"}

// newEvent makes a report of an entry. beforeSend removes secrets from it.
func newEvent(e Entry, fields []field, s stack, print []string, leftOut int) *sdk.Event {
	event := sdk.NewEvent()
	event.Timestamp, event.Level = e.Time, level(e.Level)
	event.Logger, event.Message = e.Logger, cut(e.Message, maxInput)
	event.Fingerprint = print
	attributes := sdk.Context{}
	for _, f := range fields {
		attributes[f.name] = f.text
	}
	if leftOut > 0 {
		attributes["left_out"] = leftOut
	}
	if len(attributes) > 0 {
		event.Contexts = map[string]sdk.Context{"attributes": attributes}
	}
	for _, names := range [][]string{naming, tags} {
		for _, name := range names {
			if value, ok := lookUp(fields, name); ok && value != "" {
				event.Tags[name] = value
			}
		}
	}
	if s != nil {
		value, _ := lookUp(fields, "panic")
		event.Exception = []sdk.Exception{{
			Type: "panic", Value: value, Stacktrace: &sdk.Stacktrace{Frames: s},
			Mechanism: &sdk.Mechanism{Type: "recover", Handled: sdk.Pointer(true)},
		}}
	}
	return event
}

func level(l slog.Level) sdk.Level {
	switch {
	case l < slog.LevelError:
		return sdk.LevelWarning
	case l < slog.LevelError+4:
		return sdk.LevelError
	}
	return sdk.LevelFatal
}

// stack are the calls that led to a panic, the innermost last.
type stack []sdk.Frame

// stackOf returns the stack of the panic that an entry reports, or nil. The function that recovered is still
// running, so the stack has the function that panicked below it.
func stackOf(fields []field) stack {
	if _, ok := lookUp(fields, "panic"); !ok {
		return nil
	}
	trace := sdk.NewStacktrace()
	if trace == nil {
		return nil
	}
	for i := range trace.Frames {
		f := &trace.Frames[i]
		// the folder of the build is private
		f.Filename, f.AbsPath = f.Module+"/"+path.Base(strings.ReplaceAll(f.AbsPath+f.Filename, `\`, "/")), ""
	}
	return trace.Frames
}

func (s stack) innermost() string {
	if len(s) == 0 {
		return ""
	}
	f := s[len(s)-1]
	return f.Module + "." + f.Function
}

// cut shortens a text to size bytes, at the end of a character.
func cut(text string, size int) string {
	if len(text) <= size {
		return text
	}
	return strings.ToValidUTF8(text[:size], "") + "…"
}
