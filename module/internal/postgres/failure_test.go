package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestWithCure(t *testing.T) {
	err := fmt.Errorf("asking: %w", &failure{kind: outdated, text: "its tables are too new", cure: "update the plugin here"})
	if got := WithCure(err); !errors.Is(got, err) || !strings.HasSuffix(got.Error(), ": update the plugin here") {
		t.Errorf("with a cure: %v", got)
	}
	for _, other := range []error{nil, errors.New("of another package")} {
		if got := WithCure(other); got != other { //nolint:errorlint // it must be the same
			t.Errorf("%v became %v", other, got)
		}
	}
}
