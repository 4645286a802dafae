package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/alecthomas/kong"
	"github.com/google/uuid"

	"tributary/internal/base/cli"
	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/send/ids"
	"tributary/internal/send/publish"
)

// common are the flags of every command that sends a single one.
type common struct {
	queueFlag
	cli.Output
	Tenant      string `required:"" placeholder:"ID" help:"Tenant that it belongs to."`
	ItemVersion *int64 `placeholder:"N" help:"Version, 1 or more: an older one never overwrites a newer one."`
}

var userType, orderType = schema.Builtin().Type("user"), schema.Builtin().Type("order")

// newID are the flags of commands that may make an id.
type newID struct {
	ID         string   `name:"id" env:"-" placeholder:"ID" help:"Its id; without it a new one is made."`
	IDs        ids.Kind `name:"ids" enum:"uuid7,uuid4" default:"uuid7" help:"Kind of new ids: uuid7 sorts by time, uuid4 is random (${default})."`
	Attributes string   `env:"-" placeholder:"JSON" help:"Further fields of the upstream system, as a JSON object."`
}

type putUserCmd struct {
	common
	newID
	UserName  string `env:"-" required:"" placeholder:"NAME" help:"Name."`
	UserEmail string `env:"-" required:"" placeholder:"ADDRESS" help:"Address."`
}

// Run sends a put_user.
func (p *putUserCmd) Run(ctx context.Context, s *cli.Streams) error {
	id, err := p.id()
	if err != nil {
		return err
	}
	c := messages.Put(userType, p.Tenant, id, p.UserName, p.UserEmail)
	c.Attributes = p.Attributes
	return p.send(ctx, s, &c)
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
	id, err := p.id()
	if err != nil {
		return err
	}
	c := messages.Put(orderType, p.Tenant, id, p.UserID, string(p.OrderAmount))
	c.Attributes = p.Attributes
	return p.send(ctx, s, &c)
}

type deleteUserCmd struct {
	common
	ID string `name:"id" env:"-" required:"" placeholder:"ID" help:"Id of the user."`
}

// Run sends a delete_user.
func (d *deleteUserCmd) Run(ctx context.Context, s *cli.Streams) error {
	c := messages.Delete(userType, d.Tenant, d.ID)
	return d.send(ctx, s, &c)
}

type deleteOrderCmd struct {
	common
	ID string `name:"id" env:"-" required:"" placeholder:"ID" help:"Id of the order."`
}

// Run sends a delete_order.
func (d *deleteOrderCmd) Run(ctx context.Context, s *cli.Streams) error {
	c := messages.Delete(orderType, d.Tenant, d.ID)
	return d.send(ctx, s, &c)
}

func (n *newID) id() (string, error) {
	if n.ID != "" {
		return n.ID, nil
	}
	return ids.New(n.IDs)
}

// send checks a command, sends it, and prints the id.
func (c *common) send(ctx context.Context, s *cli.Streams, command *messages.Command) error {
	if c.ItemVersion != nil {
		if *c.ItemVersion < 1 {
			return cli.Usage("--item-version: %d is not 1 or more", *c.ItemVersion)
		}
		command.Version = *c.ItemVersion
	}
	if bad := command.Validate(); bad != nil {
		return cli.Usage("%w", flagError(command, bad))
	}
	to, err := c.connect(ctx, s, 1)
	if err != nil {
		return err
	}
	defer to.close(ctx)
	ctx, span := to.tracing.Command(ctx, "producer "+command.Name())
	defer span.End()
	// Its own scope: the same command sent twice on purpose is two commands, also to a FIFO queue.
	p := publish.New(ctx, to.send, to.queue, publish.Config{Concurrency: 1, Scope: uuid.NewString(), Trace: to.traced()})
	added := p.Add(command, 0, 0)
	if err := p.Close(); err != nil {
		return explain(err)
	}
	if added != nil {
		return cli.Usage("%w", added)
	}
	if c.JSON() {
		return cli.WriteJSON(s.Out, struct {
			ID      string          `json:"id"`
			Queue   string          `json:"queue"`
			Command json.RawMessage `json:"command"`
		}{command.ID, to.queue.URL, messages.Append(nil, command)})
	}
	if _, err := fmt.Fprintln(s.Out, command.ID); err != nil {
		return fmt.Errorf("print id: %w", err)
	}
	return nil
}

// flagError names the flag that a field was given by.
func flagError(command *messages.Command, bad *messages.Error) error {
	flag := map[string]string{
		"tenant_id": "--tenant", "user_id": "--user-id", "user_name": "--user-name", "user_email": "--user-email",
		"order_amount": "--order-amount", "version": "--item-version", "attributes": "--attributes",
	}
	flag[command.Type.ID] = "--id"
	if name, ok := flag[bad.Field]; ok {
		return fmt.Errorf("%s: %s", name, bad.Detail)
	}
	return bad
}
