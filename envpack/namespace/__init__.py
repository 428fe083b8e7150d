"""Programs in namespaces of their own, where an ordinary user may mount: without a container runtime.

    changing    running programs in an image, and what they changed
    program     starting them, from the other side; why a machine does not let users have namespaces
    unpacked    an image's file system as a folder, where nothing can mount it
    system      the system calls
    enter       runs an image (:mod:`envpack.run`)
    change      runs programs in an image and tells what they changed (packages' link scripts)
    compare     what is another than before

``system``, ``enter``, ``change`` and ``compare`` are what is started: nothing but the standard library.
"""
