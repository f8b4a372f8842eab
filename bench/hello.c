/* hello: the HTTP library alone: evhttp answers every request with a few bytes. The raw limit of accepting. */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

static void hello(struct evhttp_request *request, void *unused)
{
    (void)unused;
    struct evbuffer *body = evbuffer_new();
    evbuffer_add_printf(body, "hello");
    evhttp_send_reply(request, 200, NULL, body);
    evbuffer_free(body);
}

int main(void)
{
    struct event_base *base = event_base_new();
    struct evhttp *http = evhttp_new(base);
    struct evhttp_bound_socket *socket = evhttp_bind_socket_with_handle(http, "127.0.0.1", 0);
    if (!socket)
        return 1;
    evhttp_set_gencb(http, hello, NULL);
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    if (getsockname(evhttp_bound_socket_get_fd(socket), (struct sockaddr *)&address, &len) != 0)
        return 1;
    printf("%d\n", ntohs(address.sin_port)); /* any free port, printed */
    fflush(stdout);
    return event_base_dispatch(base);
}
