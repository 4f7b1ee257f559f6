"""A window that shows what is found while it is found."""

from PIL import Image

from yolov1.streaming.frames import StreamError


class Window:
    """Shows pictures; use it in a ``with``, in the main thread.

    Args:
        title: of the window.
        closed: called when a person closes it, or presses Escape or q.

    Raises:
        StreamError: there is no display, or Python was built without Tk.
    """

    def __init__(self, title, closed):
        try:
            import tkinter

            from PIL import ImageTk

            self._window = tkinter.Tk()
        except ImportError as error:
            raise StreamError(f"A window needs Tk, which this Python lacks ({error}).") from None
        except tkinter.TclError as error:
            raise StreamError(f"There is no display for a window: {error}.") from None
        self._to_tk = ImageTk.PhotoImage
        self._window.title(title)
        self._label = tkinter.Label(self._window)
        self._label.pack()
        self._shown = None
        self._open = True

        def close(*_):
            self._open = False
            closed()

        self._window.protocol("WM_DELETE_WINDOW", close)
        for key in ("<Escape>", "q"):
            self._window.bind(key, close)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._window.destroy()

    def show(self, frame, picture):
        """Shows what was made of a frame, uint8 ``[H, W, 3]``, no larger than the screen."""
        del frame
        if not self._open:
            return
        image = Image.fromarray(picture)
        image.thumbnail((self._window.winfo_screenwidth(), self._window.winfo_screenheight()))
        # Tk does not keep what it shows.
        self._shown = self._to_tk(image, master=self._window)
        self._label.configure(image=self._shown)
        self._window.update()
