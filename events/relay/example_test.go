package relay_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/events/relay"
)

// record appends events to acme's stream, as package oat would.
func record(l events.Log, payloads ...events.Payload) {
	for _, p := range payloads {
		e, err := events.NewEnvelope(events.Envelope{}.ID, time.Now(), "alice", p)
		if err != nil {
			log.Fatal(err)
		}
		rand.Read(e.ID[:])
		if _, err := l.Append(context.Background(), events.OrganizationStream("acme"), events.Any, e); err != nil {
			log.Fatal(err)
		}
	}
}

// A Router runs a handler on the events of one type. Started again with the same
// log, it would go on where it stopped.
func ExampleSubscriber() {
	eventLog := memlog.New()
	defer eventLog.Close()
	record(eventLog,
		&events.OrganizationRegistered{Plan: "team", Owners: []string{"alice"}},
		&events.OrganizationOwnerAdded{Owner: "bob"},
		&events.OrganizationPlanChanged{Plan: "business"},
		&events.OrganizationOwnerAdded{Owner: "carol"},
	)

	subscriber, err := relay.NewSubscriber(relay.SubscriberConfig{Log: eventLog, Group: "welcome-mail"})
	if err != nil {
		log.Fatal(err)
	}
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	router.AddConsumerHandler("welcome", events.TypeOrganizationOwnerAdded, subscriber, func(m *message.Message) error {
		r, err := relay.FromMessage(m)
		if err != nil {
			return err
		}
		p, err := r.Payload()
		if err != nil {
			return err
		}
		owner := p.(*events.OrganizationOwnerAdded).Owner
		fmt.Printf("version %d of %s: welcome, %s\n", r.Version, r.Stream, owner)
		if owner == "carol" {
			stop() // here the example ends; a program stops at a signal
		}
		return nil
	})
	if err := router.Run(ctx); err != nil {
		log.Fatal(err)
	}
	saved, err := eventLog.LoadCheckpoint(context.Background(), "group/welcome-mail/organization.owner_added.v1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("dealt with everything up to position", saved)
	// Output:
	// version 2 of organization/acme: welcome, bob
	// version 4 of organization/acme: welcome, carol
	// dealt with everything up to position 4
}

// A Relay publishes what a projection runner feeds it. Here the batch is read by
// hand, and the broker is a Go channel.
func ExampleRelay() {
	ctx := context.Background()
	eventLog := memlog.New()
	defer eventLog.Close()
	record(eventLog,
		&events.OrganizationRegistered{Plan: "team", Owners: []string{"alice"}},
		&events.OrganizationOwnerAdded{Owner: "bob"},
	)

	broker := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
	messages, err := broker.Subscribe(ctx, "audit.organization")
	if err != nil {
		log.Fatal(err)
	}
	received := make(chan struct{})
	go func() {
		defer close(received)
		for m := range messages {
			fmt.Println(m.Metadata[relay.KeyType], string(m.Payload))
			m.Ack()
		}
	}()

	r, err := relay.NewRelay(ctx, relay.RelayConfig{
		Name: "audit", Publisher: broker, Checkpoints: eventLog,
		Topic: func(r events.Recorded) string { return "audit." + r.Stream.Kind() },
	})
	if err != nil {
		log.Fatal(err)
	}
	var batch []events.Recorded
	for record, err := range eventLog.ReadAll(ctx, r.Position()) {
		if err != nil {
			log.Fatal(err)
		}
		batch = append(batch, record)
	}
	if err := r.Apply(ctx, batch); err != nil {
		log.Fatal(err)
	}
	broker.Close()
	<-received
	fmt.Println("position", r.Position())
	// Output:
	// organization.registered.v1 {"plan":"team","owners":["alice"]}
	// organization.owner_added.v1 {"owner":"bob"}
	// position 2
}
