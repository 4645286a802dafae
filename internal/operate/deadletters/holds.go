package deadletters

import (
	"tributary/internal/messages"
	"tributary/internal/schema"
)

// Holding says what a letter holds of one tenant.
type Holding uint8

// What a letter can hold of a tenant.
const (
	HoldsNothing Holding = iota
	HoldsAll             // the tenant sent it, or each of its commands is the tenant's
	HoldsSome            // a message that SQS moved, with commands of other tenants too
)

// Holds says what the letter holds of a tenant. Its commands are of declared types; a body that can't be read holds nothing that could be
// told, unless the letter names its tenant.
func (l *Letter) Holds(declared *schema.Set, tenant string) Holding {
	if l.TenantID == tenant || l.CommandTenantID == tenant {
		return HoldsAll
	}
	if !l.moved {
		return HoldsNothing
	}
	commands, err := messages.Decode(declared, nil, l.Body, nil)
	if err != nil {
		return HoldsNothing
	}
	n := 0
	for i := range commands {
		if commands[i].Command.TenantID == tenant {
			n++
		}
	}
	switch n {
	case 0:
		return HoldsNothing
	case len(commands):
		return HoldsAll
	}
	return HoldsSome
}
