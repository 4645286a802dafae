package main

import (
	"context"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"tributary/internal/base/cli"
	"tributary/internal/messages"
	"tributary/internal/schema"
)

// The types user and order have commands and flags of their own, from before types were declared. They hold for declared types of
// these names too, as far as the flags give what these need.

type putUserCmd struct {
	common
	newID
	UserName  string `env:"-" required:"" placeholder:"NAME" help:"Name."`
	UserEmail string `env:"-" required:"" placeholder:"ADDRESS" help:"Address."`
}

// Run sends a put_user.
func (p *putUserCmd) Run(ctx context.Context, s *cli.Streams) error {
	return p.put(ctx, s, "user", &p.newID, aliasField{"user_name", p.UserName}, aliasField{"user_email", p.UserEmail})
}

type putOrderCmd struct {
	common
	newID
	UserID      string `name:"user-id" env:"-" required:"" placeholder:"ID" help:"User whose order it is."`
	OrderAmount amount `env:"-" required:"" placeholder:"NUMBER" help:"Amount, a decimal number of up to 38 digits."`
}

// amount is a flag's number. Where it is negative, kong would take "-5" for a short flag.
type amount string

// Decode is kong's hook: it takes the argument behind the flag as it is, unless that is a flag.
func (a *amount) Decode(ctx *kong.DecodeContext) error {
	token := ctx.Scan.Peek()
	if text, ok := token.Value.(string); ok && isNegative(text) {
		ctx.Scan.Pop()
		*a = amount(text)
		return nil
	}
	return ctx.Scan.PopValueInto("number", (*string)(a))
}

// isNegative says whether an argument begins as a negative number does.
func isNegative(arg string) bool {
	return len(arg) > 1 && arg[0] == '-' && (arg[1] == '.' || '0' <= arg[1] && arg[1] <= '9')
}

// Run sends a put_order.
func (p *putOrderCmd) Run(ctx context.Context, s *cli.Streams) error {
	return p.put(ctx, s, "order", &p.newID, aliasField{"user_id", p.UserID}, aliasField{"order_amount", string(p.OrderAmount)})
}

type deleteUserCmd struct {
	common
	ID string `name:"id" env:"-" required:"" placeholder:"ID" help:"Id of the user."`
}

// Run sends a delete_user.
func (d *deleteUserCmd) Run(ctx context.Context, s *cli.Streams) error {
	return d.delete(ctx, s, "user", d.ID)
}

type deleteOrderCmd struct {
	common
	ID string `name:"id" env:"-" required:"" placeholder:"ID" help:"Id of the order."`
}

// Run sends a delete_order.
func (d *deleteOrderCmd) Run(ctx context.Context, s *cli.Streams) error {
	return d.delete(ctx, s, "order", d.ID)
}

// aliasField is a field's value, given by a flag of its own.
type aliasField struct{ name, text string }

// flag is the flag's name: --user-name of user_name.
func (f aliasField) flag() string { return "--" + strings.ReplaceAll(f.name, "_", "-") }

// put sends a put of a type whose fields have flags.
func (c *common) put(ctx context.Context, s *cli.Streams, name string, n *newID, fields ...aliasField) error {
	t, err := c.aliased(s, name)
	if err != nil {
		return err
	}
	for _, f := range t.Fields {
		if f.Needed() && !slices.ContainsFunc(fields, func(given aliasField) bool { return given.name == f.Name }) {
			return cli.Usage("put-%s has no flag for %s, which that type needs: use producer put %s", name, f.Name, name)
		}
	}
	id, err := n.id()
	if err != nil {
		return err
	}
	command := messages.Command{Type: t, TenantID: c.Tenant, ID: id, Attributes: n.Attributes}
	flags := map[string]string{}
	for _, given := range fields {
		f := t.Field(given.name)
		if f == nil {
			return cli.Usage("%s: the %s of %s has no field %s: use producer put %s", given.flag(), name, c.Types, given.name, name)
		}
		command.Values.Set(f.Position, given.text)
		flags[given.name] = given.flag()
	}
	return c.send(ctx, s, &command, flags)
}

// delete sends a delete of a type.
func (c *common) delete(ctx context.Context, s *cli.Streams, name, id string) error {
	t, err := c.aliased(s, name)
	if err != nil {
		return err
	}
	command := messages.Delete(t, c.Tenant, id)
	return c.send(ctx, s, &command, nil)
}

func (c *common) aliased(s *cli.Streams, name string) (*schema.Type, error) {
	types, err := readTypes(s, c.File)
	if err != nil {
		return nil, err
	}
	if t := types.Type(name); t != nil {
		return t, nil
	}
	return nil, cli.Usage("%s declares no type %s: use producer put TYPE, or producer delete TYPE", c.Types, name)
}

// aliasCounts are the flags of generate for the types user and order.
type aliasCounts struct {
	Users  *int `env:"-" placeholder:"N" help:"Users, over all tenants (100): --count user=N."`
	Orders *int `env:"-" placeholder:"N" help:"Commands for orders, updates included, over all tenants (1000): --count order=N."`
}

// aliasCount is how many commands of a type a flag asks for.
type aliasCount struct {
	flag, name string
	n          *int
}

func (c *aliasCounts) all() []aliasCount {
	return []aliasCount{{"--users", "user", c.Users}, {"--orders", "order", c.Orders}}
}
