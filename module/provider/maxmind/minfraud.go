package maxmind

import (
	"fmt"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// transaction is a question to minFraud. Of a transaction, only the address is known.
type transaction struct {
	Device device `json:"device"`
}

type device struct {
	IPAddress string `json:"ip_address"`
}

// scoreAnswer is the body of a 200. It does not repeat the address.
type scoreAnswer struct {
	IPAddress struct {
		Risk *float64 `json:"risk"` // 0.01 to 99
	} `json:"ip_address"`
	Warnings []struct {
		Code         string `json:"code"`
		InputPointer string `json:"input_pointer"`
	} `json:"warnings"`
}

// report returns the report of an answer. A warning about the address means that the score is about
// something else.
func (v *scoreAnswer) report() (reputation.Report, error) {
	for _, w := range v.Warnings {
		switch {
		case w.Code == "IP_ADDRESS_NOT_FOUND", w.Code == "IP_ADDRESS_RESERVED":
			return reputation.Report{}, reputation.ErrUnknown
		case w.InputPointer == "/device/ip_address":
			return reputation.Report{}, fmt.Errorf("%w: it does not take the address", reputation.ErrBadAnswer)
		}
	}
	if v.IPAddress.Risk == nil {
		return reputation.Report{}, fmt.Errorf(`%w: there is no "risk" of the address`, reputation.ErrBadAnswer)
	}
	risk, err := severity(*v.IPAddress.Risk)
	if err != nil {
		return reputation.Report{}, err
	}
	r := reputation.Report{Severity: risk, Confidence: .7}
	if risk > 0 {
		r.Categories = reputation.CategoriesOf(reputation.Abuse)
	}
	return r, nil
}
